"""An event loop whose waits cost almost nothing: hours of a run pass in a second of the test.

Real I/O and threads are waited for as ever: only when nothing has happened for a moment does the clock jump
to the next timer.
"""

import asyncio
import selectors
import time

#: Long enough for a commit of the state file to come back before time moves on.
MOMENT_S = 0.015


class JumpingSelector(selectors.DefaultSelector):
    jumped_s = 0.0  # of all loops together: a second run in one test goes on where the first one ended
    is_busy = staticmethod(lambda: False)  # whether a thread still works on what somebody waits for

    def select(self, timeout=None):
        if timeout is None or timeout <= MOMENT_S:
            return super().select(timeout)
        events = super().select(MOMENT_S)
        while not events and self.is_busy():
            events = super().select(MOMENT_S)
        if not events:
            JumpingSelector.jumped_s += timeout - MOMENT_S
        return events


class FastLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        super().__init__(JumpingSelector())

    def time(self):
        return fast_now()


def fast_now():
    """The time of every fast loop, also between two of them."""
    return time.monotonic() + JumpingSelector.jumped_s


def let_pass(seconds):
    """Let time pass between two loops."""
    JumpingSelector.jumped_s += seconds


def run_fast(coroutine):
    """The result of a coroutine, run on jumping time."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(coroutine)

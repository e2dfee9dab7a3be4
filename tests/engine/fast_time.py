"""A virtual clock: an event loop on which hours of a run pass in no time, whatever else the machine does.

When nothing is ready to run, time jumps to the next timer; nothing else moves it. It stands still while a
thread works on what the loop asked for: a commit of the state file, or anything in an executor. So the times
that a test sees depend neither on the load nor on the speed of the machine. Of sockets only those within the
process will do: what is on its way between two of them is waited for, but nothing from outside.
"""

import asyncio
import contextlib
import selectors
import threading
import weakref
from collections.abc import Callable, Coroutine
from selectors import SelectorKey
from typing import Any, TypeVar

from batchexport.store.sqlite.writer import Writer

#: Where time begins, as seconds of the loop's clock: a machine that has been up for a while.
START_S = 10_000.0
#: Time is no finer: seconds since the epoch have 0.24 of it between two floats, and have to move with a jump.
RESOLUTION_S = 1e-6
#: How long a byte may take from one socket of the process to another.
LOOPBACK_S = 0.002
#: Threads that the program itself starts for what it waits for, by name.
THREADS = ("sign-in",)
#: How often to ask a thread that tells nobody when it is done.
GLANCE_S = 0.001

Result = TypeVar("Result")


class Time:
    """The time of every virtual loop: a second run in one test goes on where the first one ended."""

    now_s = START_S
    on_the_way = 0  # requests between two sockets of the process


class VirtualSelector(selectors.DefaultSelector):
    """Does not wait for time to pass, but makes it pass."""

    is_busy: Callable[[], bool] = staticmethod(
        lambda: False
    )  # whether a thread still works on what the loop asked for

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        events = super().select(0)
        if timeout is not None and timeout <= 0:
            return events
        while not events and self.is_busy():
            events = super().select(GLANCE_S)
        # A thread may have been done just before it was asked.
        events = events or super().select(None if timeout is None else LOOPBACK_S if Time.on_the_way else 0)
        if not events:
            Time.now_s += max(timeout or 0.0, RESOLUTION_S)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = VirtualSelector()
        super().__init__(selector)
        self._clock_resolution = RESOLUTION_S  # that of the real clock is finer than a float after some days
        self._asked = 0  # results that threads owe this loop
        selector.is_busy = lambda: self._asked > 0 or _some_thread_works()

    def time(self) -> float:
        return Time.now_s

    def expect(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """Let no time pass until the future is done: a thread works on it."""
        self._asked += 1
        future.add_done_callback(self._answered)
        return future

    def _answered(self, _: asyncio.Future[Any]) -> None:
        self._asked -= 1

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        return self.expect(super().run_in_executor(*args))

    async def shutdown_default_executor(self, *args: Any) -> None:
        over = self.create_future()
        self.expect(over)
        try:
            await super().shutdown_default_executor(*args)
        finally:
            over.set_result(None)


def fast_now() -> float:
    """The time of every virtual loop, also between two of them."""
    return Time.now_s


def let_pass(seconds: float) -> None:
    """Let time pass between two loops."""
    Time.now_s += seconds


def run_fast(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine, run on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


#: The threads that write state files for virtual loops.
WRITERS: weakref.WeakSet[Writer] = weakref.WeakSet()


def _watch_writers() -> None:
    """Have every virtual loop know what it asked a writer for, and no such writer wait for company."""
    begin, ask, is_pressing = Writer.__init__, Writer.ask, Writer._is_pressing

    def begun(self: Writer, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        if _virtual_loop() is not None:
            WRITERS.add(self)

    def asked(self: Writer, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        waiter = ask(self, *args, **kwargs)
        loop = _virtual_loop()
        return waiter if loop is None else loop.expect(waiter)

    def pressing(self: Writer) -> bool:
        return self in WRITERS or is_pressing(self)

    for name, method in (("__init__", begun), ("ask", asked), ("_is_pressing", pressing)):
        setattr(Writer, name, method)


def _some_thread_works() -> bool:
    return any(each.backlog for each in WRITERS) or any(
        each.name in THREADS for each in threading.enumerate()
    )


def _virtual_loop() -> VirtualLoop | None:
    with contextlib.suppress(RuntimeError):
        loop = asyncio.get_running_loop()
        return loop if isinstance(loop, VirtualLoop) else None
    return None


_watch_writers()

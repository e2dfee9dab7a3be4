"""Runs batchexport in a process that kills itself at a named point of its work.

``python -m tests.crash.killed_at POINT N -- run volumes.csv …`` sends itself SIGKILL, or another signal, when
it reaches POINT for the N-th time; `time` counts milliseconds from the start of the command instead, and
`never` lets it live. Nothing in the product knows of the points: they are laid around its functions from the
outside.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext

from tests.crash import haste, points

NEVER = "never"
TIME = "time"


class Trap:
    """Sends this process a signal when it reaches one point for the N-th time."""

    def __init__(self, point: str, times: int, number: signal.Signals) -> None:
        self._point = point
        self._left = times
        self._number = number
        self._lock = threading.Lock()  # commits are reached in the writer's thread

    def reach(self, point: str) -> None:
        """Count one arrival at `point`; the last one takes effect before this returns."""
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left != 0:
                return
        with points.COMMIT if self._number == signal.SIGSTOP else nullcontext():
            # To this very thread: the process may not take one step more.
            signal.pthread_kill(threading.get_ident(), self._number)

    def spring_after(self, milliseconds: int) -> None:
        """Send the signal so long from now, wherever the process is then."""
        timer = threading.Timer(milliseconds / 1000, os.kill, (os.getpid(), self._number))
        timer.daemon = True
        timer.start()


def main(arguments: Sequence[str]) -> None:
    """Run the command line that follows `--`, with the trap laid."""
    ours, theirs = _split(arguments)
    parser = argparse.ArgumentParser(prog="killed_at")
    parser.add_argument("point", choices=(*points.NAMES, *points.COPY_NAMES, NEVER, TIME))
    parser.add_argument("times", type=int, help="which arrival; for `time` milliseconds")
    parser.add_argument("--signal", default="SIGKILL", help="by its name")
    parser.add_argument("--lease-s", type=float, help="how long a lease lasts")
    chosen = parser.parse_args(ours)

    sys.modules["uvloop"] = None  # type: ignore[assignment]  # its sockets are out of reach; None = not installed
    trap = Trap(chosen.point, chosen.times, signal.Signals[chosen.signal])
    points.lay(trap.reach)
    haste.shorten_waits()
    if chosen.lease_s is not None:
        haste.shorten_leases(chosen.lease_s)

    from batchexport.cli.program import main as batchexport

    sys.argv = ["batchexport", *theirs]
    if chosen.point == TIME:
        trap.spring_after(chosen.times)
    batchexport()


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    border = arguments.index("--")
    return arguments[:border], arguments[border + 1 :]


if __name__ == "__main__":
    main(sys.argv[1:])

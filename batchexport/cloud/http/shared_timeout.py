"""How long requests may take: one timer for all of them together.

A timer for each, as aiohttp sets them, is a sixth of what a request costs.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class SharedTimeout:
    """Ends what takes longer than `limit_s`. Enter a `turn()` around each request."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._turns: dict[_Deadline, float] = {}  # loop time at which each is overdue; in that order
        self._timer: asyncio.TimerHandle | None = None

    def turn(self) -> _Deadline:
        """A context that raises TimeoutError when it has lasted too long."""
        return _Deadline(self)

    def begin(self, turn: _Deadline) -> None:
        """Count the time of this turn from now."""
        loop = asyncio.get_running_loop()
        overdue_at = self._turns[turn] = loop.time() + self._limit_s
        if self._timer is None:
            self._timer = loop.call_at(overdue_at, self._look)

    def end(self, turn: _Deadline) -> None:
        """This turn is over."""
        self._turns.pop(turn, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for turn, overdue_at in list(self._turns.items()):
            if overdue_at > loop.time():
                self._timer = loop.call_at(overdue_at, self._look)
                return
            del self._turns[turn]
            turn.give_up()


class _Deadline:
    """One request; as `asyncio.timeout`, but for the timer."""

    __slots__ = ("_cancelling", "_is_overdue", "_task", "_timeout")

    def __init__(self, patience: SharedTimeout) -> None:
        self._timeout = patience
        self._is_overdue = False

    def give_up(self) -> None:
        self._is_overdue = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timeout.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeout.end(self)
        if not self._is_overdue:
            return
        # Cancelled by somebody else as well, it stays cancelled.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

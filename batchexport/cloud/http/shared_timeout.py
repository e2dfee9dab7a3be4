"""A time limit for requests: one timer for all of them.

A timer for each, as aiohttp sets them, costs a sixth of what a request costs.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class SharedTimeout:
    """Ends what takes longer than `limit_s` seconds. Enter a `limit()` around each request."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._running: dict[_Limit, float] = {}  # loop time at which each is overdue; in that order
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> _Limit:
        """A context that raises TimeoutError when it lasts too long."""
        return _Limit(self)

    def start(self, limit: _Limit) -> None:
        """Start counting the time of this context."""
        loop = asyncio.get_running_loop()
        overdue_at = self._running[limit] = loop.time() + self._limit_s
        if self._timer is None:
            self._timer = loop.call_at(overdue_at, self._check)

    def stop(self, limit: _Limit) -> None:
        """Stop counting the time of this context."""
        self._running.pop(limit, None)

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for limit, overdue_at in list(self._running.items()):
            if overdue_at > loop.time():
                self._timer = loop.call_at(overdue_at, self._check)
                return
            del self._running[limit]
            limit.expire()


class _Limit:
    """The limit of one request. Behaves as `asyncio.timeout`, but has no timer of its own."""

    __slots__ = ("_cancelling", "_has_expired", "_task", "_timeout")

    def __init__(self, timeout: SharedTimeout) -> None:
        self._timeout = timeout
        self._has_expired = False

    def expire(self) -> None:
        self._has_expired = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timeout.start(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeout.stop(self)
        if not self._has_expired:
            return
        # If someone else cancelled the task as well, it stays cancelled.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

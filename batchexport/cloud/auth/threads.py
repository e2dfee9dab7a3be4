"""Blocking calls in threads that never have to be waited for: at exit, on Ctrl-C, or after a timeout."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: At most so many threads may hang in a service that does not finish its response.
_MAX_ABANDONED = 8

_abandoned: set[threading.Thread] = set()


async def run_in_thread(call: Callable[[], T], *, limit_s: float | None) -> T:
    """What `call` returns or raises; TimeoutError after `limit_s` seconds, None = no limit.

    A call that takes too long, or whose waiter is cancelled, goes on in its thread and is abandoned.
    """
    _abandoned.intersection_update({thread for thread in _abandoned if thread.is_alive()})
    if limit_s is not None and len(_abandoned) >= _MAX_ABANDONED:
        raise TimeoutError
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(result)  # type: ignore[arg-type] # None only where T allows it

    def work() -> None:
        result, failure = None, None
        try:
            result = context.run(call)
        except BaseException as error:  # re-raised in the waiter
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop is closed: no waiter is left
            return

    # Daemon threads do not keep the process alive, as those of asyncio's own executor would.
    thread = threading.Thread(target=work, name="sign-in", daemon=True)
    thread.start()
    try:
        async with asyncio.timeout(limit_s):
            return await ended
    finally:
        if not ended.done() or ended.cancelled():
            _abandoned.add(thread)

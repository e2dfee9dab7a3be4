"""Telling somebody outside, with a few tries and an end: nobody's silence holds a run up or breaks it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

#: Seconds before each further try.
WAITS_S = (2.0, 8.0)
TRY_S = 10.0


class NotTakenError(Exception):
    """The receiver did not take it. `for_good` = it would not take it another time either."""

    def __init__(self, words: str, *, for_good: bool = False) -> None:
        super().__init__(words)
        self.for_good = for_good


async def deliver(
    receiver: str,
    send: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> bool:
    """Whether `send` came through in one of its tries. What went wrong is told as a warning, never raised."""
    words = ""
    for wait_s in (0.0, *WAITS_S):
        if wait_s:
            await sleep(wait_s)
        try:
            await asyncio.wait_for(send(), TRY_S)
            return True
        except NotTakenError as error:
            words = str(error)
            if error.for_good:
                break
        except TimeoutError:
            words = f"no answer in {TRY_S:g} s"
        except Exception as error:  # a notice is never worth a run, whatever a library makes of an answer
            words = f"{type(error).__name__}"
            log.debug("%s", receiver, exc_info=error)
    log.warning("%s could not be told: %s", receiver, words)
    return False

"""Delivery of one notification: a few attempts, each with a time limit. No receiver can end a run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

#: Seconds before each further attempt.
WAITS_S = (2.0, 8.0)
TRY_S = 10.0


class DeliveryError(Exception):
    """The receiver did not accept the notification. `permanent` = another attempt would not help."""

    def __init__(self, words: str, *, permanent: bool = False) -> None:
        super().__init__(words)
        self.permanent = permanent


async def deliver(
    receiver: str,
    send: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> bool:
    """Call `send` until it succeeds, three times at most; False = it never did, which is logged."""
    words = ""
    for wait_s in (0.0, *WAITS_S):
        if wait_s:
            await sleep(wait_s)
        try:
            await asyncio.wait_for(send(), TRY_S)
            return True
        except DeliveryError as error:
            words = str(error)
            if error.permanent:
                break
        except TimeoutError:
            words = f"no answer in {TRY_S:g} s"
        except Exception as error:  # no library error about a notification may end a run
            words = type(error).__name__
            log.debug(
                "%s", receiver, exc_info=error, extra={"action": "notification_error", "receiver": receiver}
            )
    log.warning(
        "%s could not be notified: %s",
        receiver,
        words,
        extra={"action": "notification_failed", "receiver": receiver, "error": words},
    )
    return False

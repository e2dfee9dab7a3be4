"""The rate limiter of a target: every HTTP request waits here for its turn, at the rate the cloud allows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from asyncio_throttle.throttler import Throttler

log = logging.getLogger(__name__)

#: The pacer aims this far under the limit, so that lateness of the event loop can be caught up.
AIM = 0.995
#: Lateness that may be caught up at once: a gateway's bucket holds at least a tenth of a second's requests.
CREDIT_S = 0.02
#: Pauses from this length on are logged.
LOGGED_PAUSE_S = 30.0
#: A gateway that counts by the second still counts what was sent before the rate was cut.
COUNTED_S = 1.0
#: A rejection multiplies the rate by this …
CUT = 0.5
#: … and by this where the rate had crept up to a known limit: a little less than `SAFE_SHARE`.
KNOWN_CUT = 0.8
#: A lowered rate soon returns to this share of the rate that was rejected last …
SAFE_SHARE = 0.9
#: … and then creeps up: the limit is near, and each time it is reached costs a rejection.
CREEP_PER_S = 0.002
#: This far above the last rejected rate the limit is taken to have moved.
STALE_SHARE = 1.05
#: The rate is never cut below this: one request in five seconds is enough to notice a recovery.
FLOOR_PER_S = 0.2


class RateLimiter:
    """Admits callers in order of arrival, evenly spaced, never more than the limit in any second.

    The limit is `requests_per_second`, or less where the cloud rejected requests: a rejection halves the
    rate, which returns within seconds to just under where it was rejected, and creeps on from there; reaching
    the limit there again costs a fifth. It never exceeds the setting. 0 = unlimited, until a rejection sets a
    limit by the rate at which requests were sent.
    """

    def __init__(
        self,
        requests_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._ceiling = requests_per_second
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()  # FIFO; leaves the throttler exactly one caller
        self._throttler = Throttler(rate_limit=1)
        self._logged_until = float("-inf")
        self._slot = self._opens_at = clock()
        self._last_cut = float("-inf")
        self._rejected_at = 0.0  # about the rate at which requests were rejected last
        self._crept = False  # whether the rate has been close to that since
        self._successes = 0
        self._window = (clock(), 0)
        self._set_rate(requests_per_second)

    @property
    def rate(self) -> float:
        """Requests per second that are admitted now; 0 = not limited."""
        return self._rate

    def start_at(self, requests_per_second: float) -> None:
        """Begin at a rate learned earlier, if it is below the setting."""
        if requests_per_second and (not self._ceiling or requests_per_second < self._ceiling):
            self._set_rate(max(FLOOR_PER_S, requests_per_second))
            self._rejected_at = self._rate / SAFE_SHARE

    def change_limit(self, requests_per_second: float) -> None:
        """Have another setting from now on. What the cloud taught stays, where it is below it."""
        before, self._ceiling = self._ceiling, requests_per_second
        if self._rate == before or (
            requests_per_second and (not self._rate or self._rate > requests_per_second)
        ):
            self._set_rate(requests_per_second)

    async def acquire(self) -> float:
        """Wait until the caller may send one request; returns the time, by the limiter's clock.

        Cancelling a waiter loses no turn.
        """
        self._count()
        now = self._clock()
        if not self._rate and self._opens_at <= now:
            return now
        async with self._turn:
            while (wait_s := self._opens_at - self._clock()) > 0:
                await self._sleep(min(wait_s, 0.25))  # in slices: `pause` may move the end
            if self._rate:
                await self._pace()
                await self._throttler.acquire()
            return self._clock()

    def pause(self, seconds: float) -> None:
        """Admit no request for this long; of two pauses the later end counts."""
        now = self._clock()
        self._opens_at = max(self._opens_at, now + seconds)
        if seconds >= LOGGED_PAUSE_S and now >= self._logged_until:  # once, however many requests wait
            self._logged_until = self._opens_at
            extra = {"action": "requests_paused", "seconds": seconds}
            log.warning("the cloud asks to wait: no requests for %.0f s", seconds, extra=extra)

    def throttled(self, sent_at: float) -> None:
        """Note one request that the cloud rejected for its rate; `sent_at` is what `acquire` returned for it.

        However late the response comes, it is about the rate at which the request was sent.
        """
        if sent_at < self._last_cut + COUNTED_S:
            return
        self._last_cut = now = self._clock()
        self._successes = 0
        met = self._rate or self._sent_per_second(now)
        # Close to a known limit there is nothing left to find out.
        kept_share = KNOWN_CUT if self._crept and met < STALE_SHARE * self._rejected_at else CUT
        self._rejected_at = met
        self._crept = False
        self._set_rate(max(FLOOR_PER_S, met * kept_share))

    def succeeded(self) -> None:
        """Note one request that was not rejected; a second's worth of them raises a lowered rate."""
        if self._rate == self._ceiling:
            return
        self._successes += 1
        if self._successes >= self._rate:
            self._successes = 0
            self._crept = self._crept or self._rate >= SAFE_SHARE * self._rejected_at > 0
            grown = grown_rate(self._rate, rejected_at=self._rejected_at)
            self._set_rate(min(grown, self._ceiling) if self._ceiling else grown)

    async def _pace(self) -> None:
        """Sleep until this caller's slot: one interval after the last, sooner if that was late."""
        now = self._clock()
        slot = max(self._slot, now - CREDIT_S)
        self._slot = slot + 1 / (self._rate * AIM)
        if slot > now:
            await self._sleep(slot - now)

    def _set_rate(self, rate: float) -> None:
        self._rate = rate
        if not rate:
            return
        # A whole number of requests in about a second: the throttler counts a sliding window.
        per_window = max(1, int(rate))
        self._throttler.rate_limit = per_window
        self._throttler.period = per_window / rate
        self._throttler.retry_interval = min(0.05, max(0.001, 0.1 / rate))

    def _count(self) -> None:
        """Count requests in windows of a second or more, to derive a limit when one is needed."""
        began, sent = self._window
        now = self._clock()
        self._window = (began, sent + 1) if now - began < 2.0 else (now, 1)

    def _sent_per_second(self, now: float) -> float:
        began, sent = self._window
        return sent / max(now - began, 1.0)


def grown_rate(rate: float, *, rejected_at: float) -> float:
    """The rate after another second without a rejection; the last one came at `rejected_at` per second."""
    safe = SAFE_SHARE * rejected_at
    if rate < safe:
        return min(safe, rate + max(0.5, rate * 0.1))
    if rate < STALE_SHARE * rejected_at:
        return rate * (1 + CREEP_PER_S)
    return rate + max(0.5, rate * 0.02)

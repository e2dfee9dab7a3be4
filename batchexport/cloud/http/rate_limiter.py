"""The only way out to a target: every HTTP request takes its turn here, at the rate the cloud allows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from asyncio_throttle.throttler import Throttler

log = logging.getLogger(__name__)

#: The pacer aims this far under the limit, so that lateness of the event loop can be made good.
AIM = 0.995
#: Lateness that may be made good at once: a gateway's bucket holds a tenth of a second's requests or more.
CREDIT_S = 0.02
#: A pause of so many seconds is told: nothing happens meanwhile.
TOLD_PAUSE_S = 30.0
#: A gateway that counts by the second still counts what was sent before the rate was cut.
COUNTED_S = 1.0
#: What a rejection leaves of the rate …
CUT = 0.5
#: … and where the rate crept up to a limit that was known: a little less than it is back at at once.
KNOWN_CUT = 0.8
#: A lowered rate is soon back at this share of the one that was rejected last …
SAFE_SHARE = 0.9
#: … and then creeps up: the limit is near, and each meeting with it costs a rejection.
CREEP_PER_S = 0.002
#: Well past the last rejection the cloud has more to give than it had.
STALE_SHARE = 1.05
#: The rate is never cut below this: one request in five seconds still finds out when the cloud has recovered.
FLOOR_PER_S = 0.2


class RateLimiter:
    """Lets callers through in the order they came, evenly spaced, never more than the limit in any second.

    The limit is `requests_per_second`, or less where the cloud rejected requests: a rejection halves the
    rate, which is back in seconds just under where it was rejected, and creeps on from there; meeting the
    limit there again costs a fifth. It never exceeds what was set. 0 = no limit of ours; a rejection then
    sets one, from the rate that was being sent.
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
        self._turn = asyncio.Lock()  # asyncio's lock is FIFO, and it leaves the throttler exactly one caller
        self._throttler = Throttler(rate_limit=1)
        self._told_until = float("-inf")
        self._slot = self._opens = clock()
        self._last_cut = float("-inf")
        self._rejected_at = 0.0  # about the rate at which requests were rejected last
        self._crept = False  # whether the rate has been close to that since
        self._successes = 0
        self._window = (clock(), 0)
        self._set_rate(requests_per_second)

    @property
    def rate(self) -> float:
        """Requests per second that are let through now; 0 = not limited."""
        return self._rate

    def start_at(self, requests_per_second: float) -> None:
        """Begin at a rate learnt earlier, if it is below the one that was set."""
        if requests_per_second and (not self._ceiling or requests_per_second < self._ceiling):
            self._set_rate(max(FLOOR_PER_S, requests_per_second))
            self._rejected_at = self._rate / SAFE_SHARE

    async def acquire(self) -> float:
        """Return when the caller may send one request, and by the gate's clock when that is.

        Cancelling a waiter loses no turn.
        """
        self._count()
        now = self._clock()
        if not self._rate and self._opens <= now:
            return now
        async with self._turn:
            while (closed_s := self._opens - self._clock()) > 0:
                await self._sleep(min(closed_s, 0.25))  # in slices: `pause` may move the end
            if self._rate:
                await self._pace()
                await self._throttler.acquire()
            return self._clock()

    def pause(self, seconds: float) -> None:
        """Let nobody through for this long, on top of nothing: the later end of two pauses counts."""
        now = self._clock()
        self._opens = max(self._opens, now + seconds)
        if seconds >= TOLD_PAUSE_S and now >= self._told_until:  # once for all that it refuses meanwhile
            self._told_until = self._opens
            log.warning("the cloud asks to wait: no requests for %.0f s", seconds)

    def throttled(self, sent_at: float) -> None:
        """Note one request that the cloud rejected for its rate; `sent_at` is what `acquire` gave for it.

        However late the answer comes, it tells of the rate at which the request was sent.
        """
        if sent_at < self._last_cut + COUNTED_S:
            return
        self._last_cut = now = self._clock()
        self._successes = 0
        met = self._rate or self._sent_per_second(now)
        # Where the rate has come close to a limit that is known, there is nothing to be found any more.
        kept_share = KNOWN_CUT if self._crept and met < STALE_SHARE * self._rejected_at else CUT
        self._rejected_at = met
        self._crept = False
        self._set_rate(max(FLOOR_PER_S, met * kept_share))

    def succeeded(self) -> None:
        """Note one request that was not rejected: a second's worth of them raises a lowered rate."""
        if self._rate == self._ceiling:
            return
        self._successes += 1
        if self._successes >= self._rate:
            self._successes = 0
            self._crept = self._crept or self._rate >= SAFE_SHARE * self._rejected_at > 0
            grown = grown_rate(self._rate, rejected_at=self._rejected_at)
            self._set_rate(min(grown, self._ceiling) if self._ceiling else grown)

    async def _pace(self) -> None:
        """Sleep until this caller's slot: one interval after the last, sooner where that was late."""
        now = self._clock()
        slot = max(self._slot, now - CREDIT_S)
        self._slot = slot + 1 / (self._rate * AIM)
        if slot > now:
            await self._sleep(slot - now)

    def _set_rate(self, rate: float) -> None:
        self._rate = rate
        if not rate:
            return
        # A whole number of requests in about a second: the throttler counts a sliding window exactly.
        per_window = max(1, int(rate))
        self._throttler.rate_limit = per_window
        self._throttler.period = per_window / rate
        self._throttler.retry_interval = min(0.05, max(0.001, 0.1 / rate))

    def _count(self) -> None:
        """Count what is sent, in windows of a second or more, for the day a limit has to be guessed."""
        began, sent = self._window
        now = self._clock()
        self._window = (began, sent + 1) if now - began < 2.0 else (now, 1)

    def _sent_per_second(self, now: float) -> float:
        began, sent = self._window
        return sent / max(now - began, 1.0)


def grown_rate(rate: float, *, rejected_at: float) -> float:
    """The rate after another second without a rejection; the last one met `rejected_at` a second."""
    safe = SAFE_SHARE * rejected_at
    if rate < safe:
        return min(safe, rate + max(0.5, rate * 0.1))
    if rate < STALE_SHARE * rejected_at:
        return rate * (1 + CREEP_PER_S)
    return rate + max(0.5, rate * 0.02)

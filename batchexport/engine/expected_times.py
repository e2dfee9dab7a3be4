"""How long things took a moment ago, so that nobody looks for their end long before it can have come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

#: So many of the latest count: the shortest of them is what the next one may take.
LATEST = 8
#: The first look comes this much earlier, so that it is noticed when a cloud becomes faster …
SHARE = 0.95
#: … and the others follow in steps of this share, or of so many seconds.
STEP_SHARE, MIN_STEP_S = 0.05, 5.0
#: A look is never put off for longer.
MAX_WAIT_S = 300.0


class ExpectedTimes:
    """Learns from what it is told; of what it knows nothing it expects nothing. In seconds."""

    def __init__(self) -> None:
        self._latest: dict[str, deque[float]] = {}

    def took(self, what: str, seconds: float) -> None:
        """One of this kind ended, or was seen to have ended, after so long."""
        self._latest.setdefault(what, deque(maxlen=LATEST)).append(seconds)

    def wait_s(self, what: str, ages_s: Iterable[float], *, step_s: float) -> float:
        """How long to wait before the next look at some of this kind that began so long ago.

        `step_s` is for where nothing is known.
        """
        latest = self._latest.get(what)
        if not latest:
            return step_s
        shortest = min(latest)
        step_s = max(MIN_STEP_S, STEP_SHARE * shortest)
        first = min((SHARE * shortest - age for age in ages_s), default=step_s)
        return min(MAX_WAIT_S, max(step_s, first))

"""How long to wait before a retry. Pure: no clock and no sleep."""

from __future__ import annotations

import random

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential backoff: waits double from `first_s` up to `cap_s`, with jitter over their upper half.

    The wait before try `n + 1` is between 50 % and 100 % of ``min(cap_s, first_s * 2 ** (n - 1))``: half is
    fixed so that no wait is too short, the rest is random so that not all return at once.
    """

    first_s: float
    cap_s: float

    def delay_s(self, failures: int, draw: float | None = None) -> float:
        """Seconds to wait after `failures` failures in a row, counted from 1.

        `draw` is in [0, 1); None = random.
        """
        share = random.random() if draw is None else draw
        # Capped at 2 ** 30, 34 years in seconds: a float would overflow.
        ceiling = min(self.cap_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, 30))
        return ceiling * (0.5 + share / 2)


#: Between two attempts of one row: a volume that is busy or an export that failed needs minutes, not seconds.
BETWEEN_ATTEMPTS = Backoff(first_s=10.0, cap_s=600.0)
#: Between two attempts to reach a service that does not respond; the whole target waits.
UNREACHABLE = Backoff(first_s=1.0, cap_s=60.0)
#: Between two attempts of one read.
READS = Backoff(first_s=0.5, cap_s=20.0)

"""How long to wait before trying again. Pure policy: no clock, no sleep, no randomness of its own."""

from __future__ import annotations

import random

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Waits that double from `first_s` up to `cap_s`, each drawn from its upper half.

    The wait before try `n + 1` is between 50 % and 100 % of ``min(cap_s, first_s * 2 ** (n - 1))``: half is
    kept so that no wait is too short to be one, the rest is spread so that many do not return at once.
    """

    first_s: float
    cap_s: float

    def delay_s(self, failures: int, draw: float | None = None) -> float:
        """Seconds to wait after `failures` failures in a row, counted from 1.

        `draw` is in [0, 1); None draws one, a test names it.
        """
        share = random.random() if draw is None else draw
        # 2 ** 30 seconds are 34 years: beyond it the exponent says nothing, and a float would overflow.
        ceiling = min(self.cap_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, 30))
        return ceiling * (0.5 + share / 2)


#: Between two attempts of one row: a volume that is busy or an export that failed needs minutes, not seconds.
BETWEEN_ATTEMPTS = Backoff(first_s=10.0, cap_s=600.0)
#: Between two tries to reach a service that does not answer; the whole target waits.
UNREACHABLE = Backoff(first_s=1.0, cap_s=60.0)
#: Between two tries of one read.
READS = Backoff(first_s=0.5, cap_s=20.0)

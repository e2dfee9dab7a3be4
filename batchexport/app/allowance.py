"""How long a run or a night may go on, and how much it may export: `--max-duration` and `--max-gib`."""

from __future__ import annotations

import time

import msgspec

from batchexport.config import Limits
from batchexport.engine import GibBudget
from batchexport.model import JobState
from batchexport.scheduling.throughput import MIN_EXPORTS, OpenHours, Throughput, fit_throughput
from batchexport.store import StoreRef, stores

#: As long as nothing is known of the cloud's pace, any volume may begin before the end.
UNKNOWN_PACE = Throughput(base_s=0.0, s_per_gib=1e-9)
#: Exports that tell the pace: the newest ones.
_ENDINGS = 1000


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What one run may use, or one night, whatever state files it works on. None = without a limit."""

    ends_at: float | None = None  #: seconds since the epoch
    budget: GibBudget | None = None

    @classmethod
    def of(cls, limits: Limits, *, began_at: float | None = None) -> Allowance:
        """What these limits allow from `began_at` on; None = from now on."""
        began_at = time.time() if began_at is None else began_at
        return cls(
            ends_at=None if limits.max_duration_s is None else began_at + limits.max_duration_s,
            budget=None if limits.max_gib is None else GibBudget(limits.max_gib),
        )

    @property
    def is_limited(self) -> bool:
        """Whether a run may end before its rows do, and that is as it should be."""
        return self.ends_at is not None or self.budget is not None

    def hours(self, window: OpenHours | None, throughput: Throughput | None) -> OpenHours | None:
        """The hours of a run within this window; `throughput` is that of earlier exports, if known.

        Nothing begins that is not expected to end in time; what still runs is left to the next run.
        """
        if self.ends_at is None:
            return window
        if window is None:
            return OpenHours(
                closes_at=self.ends_at,
                watched_until=self.ends_at,
                throughput=throughput or UNKNOWN_PACE,
                limit="--max-duration",
            )
        if self.ends_at >= window.watched_until:
            return window
        return msgspec.structs.replace(
            window,
            closes_at=min(window.closes_at, self.ends_at),
            watched_until=self.ends_at,
            limit="--max-duration",
        )


def throughput_of(state_path: StoreRef) -> Throughput | None:
    """The throughput of the last exports in a state file; None where too few have ended."""
    with stores.read(state_path) as reader:
        endings = list(reader.attempts(latest=_ENDINGS))
    exports = [
        (each.size_gib, each.ended_at - each.accepted_at)
        for each in endings
        if each.outcome is JobState.SUCCEEDED and each.size_gib and each.accepted_at is not None
    ]
    return fit_throughput(exports) if len(exports) >= MIN_EXPORTS else None

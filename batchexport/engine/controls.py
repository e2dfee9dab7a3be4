"""What may be changed of a run while it goes on: pause, limits, order; shared by all its targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from batchexport.changes import Claimed, Ended, JobChange, Requeued, Snoozed, Started
from batchexport.config import Settings
from batchexport.model import ExportOrder, Job, JobState

#: Of what is left of a budget: no more volumes of unknown size are begun at once than these fit into it.
_UNKNOWN_SHARE = 1 / 8


class GibBudget:
    """How many GiB may still be exported: `--max-gib`, of one run or of one night.

    What is claimed counts, until its attempt comes to nothing. A volume of unknown size counts as the largest
    one so far, and as a share of what is left at least, until the cloud has told its size.
    """

    def __init__(self, max_gib: int) -> None:
        self.max_gib = max_gib
        self._taken = 0
        self._under_way: dict[tuple[str, int], int] = {}  # by run and job id
        self._largest = 0

    @property
    def left(self) -> int:
        """GiB that may still be begun; 0 = none."""
        return max(0, self.max_gib - self._taken)

    def fitting(self, jobs: Collection[Job]) -> list[Job]:
        """The first of these jobs that are not too many together: one at least, for it was small enough."""
        left, found = self.left, list[Job]()
        for job in jobs:
            left -= self._counted(job)
            if found and left < 0:
                break
            found.append(job)
        return found

    def note(self, run_id: str, change: JobChange) -> None:
        """Count a change of a job."""
        key = (run_id, change.job.job_id)
        match change:
            case Claimed():
                self._set(key, self._counted(change.job))
            case Started() if key in self._under_way:
                self._largest = max(self._largest, change.job.size_gib or 0)
                self._set(key, self._counted(change.job))
            case Ended() if change.after is JobState.SUCCEEDED:
                self._under_way.pop(key, None)
            case Ended() | Requeued() | Snoozed():
                self._set(key, 0)
                self._under_way.pop(key, None)
            case _:
                pass

    def _counted(self, job: Job) -> int:
        if job.size_gib is not None:
            return job.size_gib
        return max(self._largest, math.ceil(self.left * _UNKNOWN_SHARE))

    def _set(self, key: tuple[str, int], gib: int) -> None:
        self._taken += gib - self._under_way.get(key, 0)
        self._under_way[key] = gib


class Controls:
    """The present limits of a run. Whoever changes one calls `changed`, and every target heeds it at once."""

    def __init__(
        self,
        settings: Settings,
        *,
        max_gib_at: Callable[[float], int] | None = None,
        budget: GibBudget | None = None,
    ) -> None:
        self.max_exports = settings.limits.max_exports
        self.order: ExportOrder = settings.order
        self.is_paused = False  #: nothing begins; what is under way is watched, and servers are started again
        self.budget = budget
        self._window = max_gib_at
        self._listeners: list[Callable[[], None]] = []

    def max_gib_at(self, now: float) -> int | None:
        """GiB of the largest volume whose export may begin at `now`; 0 = none, None = any."""
        if self.is_paused:
            return 0
        limits = [] if self._window is None else [self._window(now)]
        limits += [] if self.budget is None else [self.budget.left]
        return min(limits, default=None)

    def is_too_late(self, job: Job, now: float) -> bool:
        """Whether a job that was claimed may no longer begin: it may have waited for a sender."""
        if self.is_paused:
            return True
        max_gib = None if self._window is None else self._window(now)  # the budget has counted it already
        return max_gib is not None and (max_gib == 0 or (job.size_gib or 0) > max_gib)

    def listen(self, listener: Callable[[], None]) -> None:
        """Have this called at each change, until the run ends."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Tell everybody who listens."""
        for listener in self._listeners:
            listener()

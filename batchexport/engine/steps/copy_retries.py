"""How often the copy of a volume is made anew after one that ended in an error, and when."""

from __future__ import annotations

import asyncio
from collections import Counter

from batchexport.retry import BETWEEN_ATTEMPTS

#: The status of a snapshot or volume that could not be made: it can be deleted, and another may succeed.
FAILED = "error"


class CopyRetries:
    """Counts the copies of each job that ended in an error. Times are loop times."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._failed = Counter[int]()  # by job id
        self._not_before: dict[int, float] = {}

    def failed(self, job_id: int) -> bool:
        """A copy ended in an error; whether the job is to have another one."""
        self._failed[job_id] += 1
        if self._failed[job_id] > self._retries:
            return False
        after_s = BETWEEN_ATTEMPTS.delay_s(self._failed[job_id])
        self._not_before[job_id] = asyncio.get_running_loop().time() + after_s
        return True

    def is_due(self, job_id: int) -> bool:
        """Whether a copy for this job may be requested now."""
        return asyncio.get_running_loop().time() >= self._not_before.get(job_id, 0.0)

    def made(self, job_id: int) -> int:
        """How many copies of the job ended in an error."""
        return self._failed[job_id]

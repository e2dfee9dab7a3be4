"""When to list snapshots and temporary volumes: not before something of them can have changed."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable

from batchexport.engine.expected_times import ExpectedTimes
from batchexport.model import ResourceType

#: Between two lists of one kind, where nothing is known of how long copies take.
LIST_EVERY_S = 10.0
#: Between two steps, where one makes the next one possible.
SOON_S = 1.0


class CopySchedule:
    """Learns how long copies take to be made and to be deleted. Times are loop times."""

    def __init__(self, *, is_paced: bool) -> None:
        """`is_paced`: False where every poll is to list, as somebody asked for an interval."""
        self.is_paced = is_paced
        self._expected = ExpectedTimes()
        self._began: dict[str, tuple[str, float]] = {}  # by resource id
        self._list_at: dict[ResourceType, float] = {}
        self._is_soon = False

    def requested(self, resource_id: str, kind: ResourceType, what: str) -> None:
        """It is being made, or deleted, as `what` says."""
        self._began[resource_id] = (f"{what} {kind}", _now())
        self._list_at[kind] = min(self._list_at.get(kind, math.inf), _now() + self._wait_s([resource_id]))

    def ended(self, resource_id: str) -> None:
        """It is there, or gone: what it stood in the way of is to be done soon."""
        if (began := self._began.pop(resource_id, None)) is not None:
            what, at = began
            self._expected.took(what, _now() - at)
            self._is_soon = True

    def is_due(self, kind: ResourceType) -> bool:
        """Whether a list of this kind may show something new."""
        return not self.is_paced or _now() >= self._list_at.get(kind, 0.0)

    def listed(self, kind: ResourceType, moving: Iterable[str]) -> None:
        """It was listed now, and these are still being made or deleted."""
        self._list_at[kind] = _now() + self._wait_s(moving)

    def _wait_s(self, moving: Iterable[str]) -> float:
        ages = defaultdict[str, list[float]](list)
        for each in moving:
            what, at = self._began.get(each, ("", _now()))
            ages[what].append(_now() - at)
        waits = (self._expected.wait_s(what, of, step_s=LIST_EVERY_S) for what, of in ages.items())
        return min(waits, default=LIST_EVERY_S)

    def step_s(self, poll_s: float) -> float:
        """How long to wait before the next step: `poll_s`, or less where a list is due or more is to do."""
        is_soon, self._is_soon = self._is_soon, False
        if is_soon:
            return SOON_S
        due = [at - _now() for at in self._list_at.values() if at > _now()]
        return max(SOON_S, min([poll_s, *due]))


def _now() -> float:
    return asyncio.get_running_loop().time()

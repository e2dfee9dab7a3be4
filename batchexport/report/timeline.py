"""The timeline of a run: its exports as bars, what happened in up to a hundred steps, and the gaps."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import accumulate

import msgspec
from msgspec.structs import replace

from batchexport.model import JobState
from batchexport.store import AttemptReport, Holder, JobReport, Processes, WorkPeriod
from batchexport.store.port import LEASE_S

#: More bars than these cannot be told apart on a page; the steps count all exports.
MAX_BARS = 48
#: Of these, bars reserved for exports that failed.
MAX_FAILED_BARS = 16
MAX_STEPS = 96
_STEP_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

#: The clouds' codes for flow control that comes with another HTTP status than 429.
_THROTTLE_CODES = frozenset(
    {"APIG.0308", "APIGW.0308", "Common.0024", "Common.1503", "IMG.0060", "IMG.0149", "IMG.0187"}
)


class BarKind(StrEnum):
    """What became of an export."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TRIED_AGAIN = "failed, tried again"
    UNDER_WAY = "under way"


class Mark(StrEnum):
    """What held the run up."""

    THROTTLED = "throttled"  #: the cloud asked for fewer requests
    NO_SERVICE = "no service"  #: the cloud accepted no requests
    STOPPED = "stopped"  #: credentials, permissions or quota: no request could succeed


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One export from its acceptance to its end."""

    began_at: float
    ended_at: float
    kind: BarKind
    volume_id: str
    size_gib: int | None
    words: str  #: the image's name, or why it failed
    volume_name: str | None = None

    @property
    def took_s(self) -> float:
        """How long the export took or has taken so far, in seconds."""
        return self.ended_at - self.began_at


class Step(msgspec.Struct):
    """What happened in one interval of time."""

    began_at: float
    under_way: float = 0.0  #: exports under way, on average
    succeeded: int = 0
    failed: int = 0
    gib: int = 0  #: of the exports that succeeded in it
    marks: Counter[Mark] = msgspec.field(default_factory=Counter)


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """A run from its first export to its last change."""

    began_at: float
    ended_at: float
    step_s: float
    steps: list[Step]
    bars: list[Bar]
    exports: int  #: all of them, also those without a bar
    gaps: Sequence[Gap] = ()  #: in which no process worked on the run

    @property
    def marks(self) -> Counter[Mark]:
        """How often the run was held up, by cause."""
        return sum((step.marks for step in self.steps), Counter())


class TimelineBuilder:
    """Builds the timeline between two times from exports, failed attempts and gaps."""

    def __init__(self, began_at: float, ended_at: float) -> None:
        self._began_at = began_at
        self._ended_at = max(ended_at, began_at + 1)
        self._step_s = step_width_s(self._ended_at - began_at)
        count = int((self._ended_at - began_at) // self._step_s) + 1
        self._steps = [Step(began_at + place * self._step_s) for place in range(count)]
        # Exports that last through whole steps, as differences from step to step: an export costs the same
        # however long it was.
        self._through = [0] * (count + 1)
        self._gaps: list[Gap] = []
        self._exports = 0
        self._failed: list[tuple[float, int, Bar]] = []
        self._others: list[tuple[float, int, Bar]] = []

    def add_job(self, job: JobReport) -> None:
        """Add a row: its export, if the cloud accepted it, and its end."""
        if job.finished_at is not None:
            step = self._step_at(job.finished_at)
            if job.state is JobState.SUCCEEDED:
                step.succeeded += 1
                step.gib += job.size_gib or 0
            elif job.state is JobState.FAILED:
                step.failed += 1
        kind = _KIND_OF_STATE.get(job.state)
        if job.accepted_at is None or kind is None:
            return
        self._add_bar(
            Bar(
                began_at=job.accepted_at,
                ended_at=self._ended_at if job.finished_at is None else max(job.accepted_at, job.finished_at),
                kind=kind,
                volume_id=job.volume_id,
                size_gib=job.size_gib,
                words=(job.reason or "") if kind is BarKind.FAILED else job.image_name,
                volume_name=job.volume_name,
            )
        )

    def add_repeated(self, attempt: AttemptReport) -> None:
        """Add an attempt that was followed by another: as an export of its own, or as a mark."""
        if attempt.accepted_at is not None:
            self._add_bar(
                Bar(
                    began_at=attempt.accepted_at,
                    ended_at=max(attempt.accepted_at, attempt.ended_at),
                    kind=BarKind.TRIED_AGAIN,
                    volume_id=attempt.volume_id,
                    size_gib=attempt.size_gib,
                    words=attempt.reason or "",
                )
            )
        elif (mark := mark_of(attempt)) is not None:
            self._step_at(attempt.ended_at).marks[mark] += 1

    def add_gap(self, each: Gap) -> None:
        """Add a gap, if it is within the timeline or ends it."""
        if each.resumed_at is None or self._began_at <= each.stopped_at <= self._ended_at:
            self._gaps.append(each)

    def timeline(self) -> Timeline:
        """The timeline, its bars in the order of their start."""
        for step, whole in zip(self._steps, accumulate(self._through), strict=False):
            step.under_way += whole
        bars = self._chosen_bars()
        return Timeline(
            began_at=self._began_at,
            ended_at=self._ended_at,
            step_s=self._step_s,
            steps=self._steps,
            bars=sorted(bars, key=lambda bar: (bar.began_at, bar.ended_at, bar.volume_id)),
            exports=self._exports,
            gaps=self._gaps,
        )

    def _chosen_bars(self) -> list[Bar]:
        """The longest exports, among them up to MAX_FAILED_BARS that failed."""
        failed = max(MAX_FAILED_BARS, MAX_BARS - len(self._others))
        chosen = heapq.nlargest(failed, self._failed)
        chosen += heapq.nlargest(MAX_BARS - len(chosen), self._others)
        return [bar for _, _, bar in chosen]

    def _add_bar(self, bar: Bar) -> None:
        self._exports += 1
        longest = self._failed if bar.kind in (BarKind.FAILED, BarKind.TRIED_AGAIN) else self._others
        # The count breaks ties between bars of the same length: bars themselves have no order.
        entry = (bar.took_s, self._exports, bar)
        if len(longest) < MAX_BARS:
            heapq.heappush(longest, entry)
        else:
            heapq.heappushpop(longest, entry)
        self._spread(bar)

    def _spread(self, bar: Bar) -> None:
        """Add the export to the steps that it lasted through, to the first and last by their share."""
        first, last = self._place_of(bar.began_at), self._place_of(bar.ended_at)
        if first == last:
            self._steps[first].under_way += bar.took_s / self._step_s
            return
        self._steps[first].under_way += (self._steps[first + 1].began_at - bar.began_at) / self._step_s
        self._steps[last].under_way += (bar.ended_at - self._steps[last].began_at) / self._step_s
        self._through[first + 1] += 1
        self._through[last] -= 1

    def _step_at(self, at: float) -> Step:
        return self._steps[self._place_of(at)]

    def _place_of(self, at: float) -> int:
        # These times come from two clocks: one outside the timeline counts for the nearest step.
        return min(len(self._steps) - 1, max(0, int((at - self._began_at) // self._step_s)))


_KIND_OF_STATE = {
    JobState.SUCCEEDED: BarKind.SUCCEEDED,
    JobState.FAILED: BarKind.FAILED,
    JobState.EXPORTING: BarKind.UNDER_WAY,
}


def step_width_s(span_s: float) -> float:
    """The smallest round width that divides the span into no more than MAX_STEPS steps."""
    for width_s in _STEP_WIDTHS_S:
        if span_s / width_s <= MAX_STEPS - 1:
            return float(width_s)
    return -(-span_s // (86400 * (MAX_STEPS - 1))) * 86400.0


def mark_of(attempt: AttemptReport) -> Mark | None:
    """What held up an attempt that the cloud did not accept; None if it was the volume's own status."""
    status, words = attempt.status, (attempt.reason or "").lower()
    if status in (401, 403) or "quota" in words:
        return Mark.STOPPED
    if status is None or status >= 500 or status == 408:
        return None if attempt.code == "not_sent" else Mark.NO_SERVICE
    if status in (413, 429) or attempt.code in _THROTTLE_CODES:
        return Mark.THROTTLED
    return None


#: Seconds; a shorter gap is none.
_MIN_GAP_S = 1.0


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """The time between two processes that worked on the run, or since the last."""

    stopped_at: float
    resumed_at: float | None  #: None = not resumed yet
    was_lost: bool  #: the process crashed: it was killed, or its machine went down


def find_gaps(processes: Processes, *, unfinished: bool) -> list[Gap]:
    """The gaps between the times of work, and the one since the last if the run is unfinished."""
    found: list[Gap] = []
    last: Gap | None = None
    for period in processes.periods:
        ended_at, was_lost = _end_of(period, processes.holders)
        if last is not None and period.began_at > last.stopped_at + _MIN_GAP_S:
            found.append(replace(last, resumed_at=period.began_at))
        if last is None or ended_at > last.stopped_at:
            last = Gap(stopped_at=ended_at, resumed_at=None, was_lost=was_lost)
    if last is not None and unfinished and last.stopped_at < math.inf:
        found.append(last)
    return found


def gap_text(each: Gap, clock: Callable[[float], str]) -> str:
    """When and how the work stopped, and when it was resumed; `clock` formats a time."""
    how = "crashed about" if each.was_lost else "stopped"
    then = "not resumed" if each.resumed_at is None else f"resumed {clock(each.resumed_at)}"
    return f"{how} {clock(each.stopped_at)}, {then}"


def _end_of(period: WorkPeriod, holders: Sequence[Holder]) -> tuple[float, bool]:
    """When the period ended and whether it crashed; infinity if it is still at work, as far as is known."""
    if period.ended_at is not None:
        return period.ended_at, period.was_lost
    dead = [holder.lease_until - LEASE_S for holder in holders if holder.alive is False]
    return (max(period.began_at, *dead), True) if dead else (math.inf, False)

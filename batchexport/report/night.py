"""One night, gathered from a state file in one pass: all that a report for people shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from batchexport.model import JobState, TargetKey
from batchexport.report.breaks import breaks_in
from batchexport.report.causes import TROUBLE, Cause, Causes
from batchexport.report.context import Context, context_of
from batchexport.report.downtimes import volumes_of
from batchexport.report.earlier import NightFigures, figures_of
from batchexport.report.rows import is_stalled
from batchexport.report.sizes import SizeClass, Sizes
from batchexport.report.status import totals_by_target
from batchexport.report.timeline import Course, Mark, Timeline, mark_of
from batchexport.report.totals import Totals
from batchexport.report.words import title_of
from batchexport.store import Downtime, JobReport, RunRecord, ServerReport, StateReader

#: Rows in trouble that are listed one by one; the rest is counted.
MOST_ROWS = 200


class TargetLine(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the run."""

    key: TargetKey
    totals: Totals
    throttled: int  #: requests that the cloud put off because there were too many
    requests_per_second: float | None  #: the rate that the cloud taught; None = it never asked for less


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """A run as people want to read it in the morning."""

    figures: NightFigures
    running: bool
    written_at: float
    timeline: Timeline | None  #: None = the cloud has not taken a row yet
    targets: Sequence[TargetLine]
    sizes: Sequence[SizeClass]
    median_s: float | None  #: of the exports that succeeded
    causes: Sequence[Cause]
    trouble: Sequence[JobReport]  #: the first MOST_ROWS rows that have no image
    stalled: int
    servers: Sequence[ServerReport]  #: stopped for exports, and not up
    context: Context
    downtimes: Sequence[Downtime] = ()  #: every time that a server was stopped, those that go on included
    names: Mapping[str, str] = msgspec.field(
        default_factory=dict
    )  #: of the volumes that servers were stopped for
    images: Sequence[JobReport] = ()  #: the first MOST_ROWS rows that have one
    late: Sequence[JobReport] = ()  #: the first MOST_ROWS exports past their deadline
    abandoned: int = 0  #: images of attempts without success, which may be left in the cloud
    earlier: Sequence[NightFigures]

    @property
    def run(self) -> RunRecord:
        """What the state file was made from."""
        return self.figures.run

    @property
    def title(self) -> str:
        """What to call it: the job, or else the list."""
        return self.context.job or title_of(self.run.list_name)

    @property
    def totals(self) -> Totals:
        """Rows and GiB by state."""
        return self.figures.totals

    @property
    def rows_in_trouble(self) -> int:
        """All rows that ended without an image."""
        return sum(self.totals.rows[state] for state in TROUBLE)


def night_of(reader: StateReader, *, now: float, earlier: Sequence[NightFigures] = ()) -> Night:
    """The night that a state file tells of. Rows stream through: a long list needs little memory."""
    figures = figures_of(reader)
    running = any(holder.alive is not False for holder in reader.owners())
    course = _course(figures, running=running, now=now)
    sizes, causes, stalled = Sizes(), Causes(), 0
    trouble, images, late = list[JobReport](), list[JobReport](), list[JobReport]()
    for job in reader.jobs():
        sizes.add(job)
        causes.add(job)
        stalled += is_stalled(job, now)
        for chosen, belongs in (
            (trouble, job.state in TROUBLE),
            (images, job.state is JobState.SUCCEEDED),
            (late, is_stalled(job, now)),
        ):
            if belongs and len(chosen) < MOST_ROWS:
                chosen.append(job)
        if course is not None:
            course.add_job(job)
    throttled = _put_backs(reader, course)
    if course is not None:
        unfinished = figures.totals.to_do > 0
        for each in breaks_in(reader.sessions(), reader.owners(), unfinished=unfinished):
            course.add_break(each)
    took_s, downtimes = sizes.took_s(), reader.downtimes()
    return Night(
        figures=figures,
        running=running,
        written_at=now,
        timeline=None if course is None else course.timeline(),
        targets=_targets(reader, throttled),
        sizes=sizes.filled(),
        median_s=median(took_s) if took_s else None,
        causes=causes.ranked(),
        trouble=trouble,
        stalled=stalled,
        servers=reader.servers(),
        context=context_of(reader),
        downtimes=downtimes,
        names=reader.volume_names(volumes_of(downtimes)),
        images=images,
        late=late,
        abandoned=len(reader.abandoned()),
        earlier=earlier,
    )


def _course(figures: NightFigures, *, running: bool, now: float) -> Course | None:
    """From the first export to the last change, or to now while exports are under way."""
    began_at, ended_at = figures.span.began_at, figures.span.ended_at
    if began_at is None:
        return None
    under_way = running or figures.totals.rows[JobState.EXPORTING] > 0
    return Course(began_at, max(began_at, now if under_way or ended_at is None else ended_at))


def _put_backs(reader: StateReader, course: Course | None) -> Counter[TargetKey]:
    """Notes every attempt that was followed by another; how many of each target were throttled."""
    throttled = Counter[TargetKey]()
    for put_back in reader.put_backs():
        throttled[put_back.target] += mark_of(put_back) is Mark.THROTTLED
        if course is not None:
            course.add_put_back(put_back)
    return throttled


def _targets(reader: StateReader, throttled: Mapping[TargetKey, int]) -> list[TargetLine]:
    rates = {target.key: target.requests_per_second for target in reader.targets()}
    return [
        TargetLine(
            key=key, totals=totals, throttled=throttled.get(key, 0), requests_per_second=rates.get(key)
        )
        for key, totals in totals_by_target(reader).items()
    ]

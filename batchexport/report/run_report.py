"""One run, collected from its state file in one pass: everything that the HTML and Markdown reports show."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec
from msgspec.structs import replace

from batchexport.model import JobState, TargetKey
from batchexport.report.actions import Action, actions_of, unfinished_images
from batchexport.report.causes import UNSUCCESSFUL, Cause, Causes
from batchexport.report.context import Context, context_of
from batchexport.report.deliveries import DeliveryReport, delivery_lines, delivery_report
from batchexport.report.history import RunFigures, figures_of
from batchexport.report.rows import is_stalled
from batchexport.report.servers import volumes_of
from batchexport.report.status import totals_by_target
from batchexport.report.text import count_of, number, title_of
from batchexport.report.timeline import Mark, Timeline, TimelineBuilder, find_gaps, mark_of
from batchexport.report.totals import Totals, totals_sentence
from batchexport.store import Downtime, JobReport, Overview, Reader, ResourceReport, RunRecord

#: Rows of each kind that are listed one by one; the rest is counted.
MAX_ROWS = 200
#: Images in the CSV inside the page: about 1 MB. Mail servers commonly refuse more than 10 MB.
MAX_IMAGES = 5000


class TargetLine(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the run, for the table of targets."""

    key: TargetKey
    totals: Totals
    throttled: int  #: requests that the cloud rejected because of their rate
    requests_per_second: float | None  #: learned rate limit; None = the cloud never asked for less


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report for people shows of one run."""

    figures: RunFigures
    running: bool
    written_at: float
    timeline: Timeline | None  #: None = the cloud has not accepted an export yet
    targets: Sequence[TargetLine]
    sizes: Sequence[SizeClass]
    median_s: float | None  #: median duration in seconds of the exports that succeeded
    causes: Sequence[Cause]
    unsuccessful: Sequence[JobReport]  #: the first MAX_ROWS rows that have no image
    stalled: int
    servers: Sequence[ResourceReport]  #: stopped for exports and not restarted yet
    copies: Sequence[ResourceReport]  #: snapshots and temporary volumes that are not deleted
    context: Context
    downtimes: Sequence[Downtime] = ()  #: every downtime of a server, current ones included
    names: Mapping[str, str] = msgspec.field(
        default_factory=dict
    )  #: of the volumes that servers were stopped for
    images: Sequence[JobReport] = ()  #: the first MAX_IMAGES rows that have one
    late: Sequence[JobReport] = ()  #: the first MAX_ROWS exports past their deadline
    unfinished_images: int = 0  #: images of failed attempts that may be left in the cloud
    actions: Sequence[Action] = ()  #: what is left to do, most urgent first
    earlier: Sequence[RunFigures]
    deliveries: DeliveryReport = DeliveryReport()
    csv_name: str | None = None  #: file name of the CSV report in the same folder; None = there is none

    @property
    def run(self) -> RunRecord:
        """What the state file was made from."""
        return self.figures.run

    @property
    def title(self) -> str:
        """The name of the job, or else of the list."""
        return self.context.job or title_of(self.run.list_name)

    @property
    def totals(self) -> Totals:
        """Rows and GiB by state."""
        return self.figures.totals

    @property
    def unsuccessful_rows(self) -> int:
        """Number of rows that ended without an image."""
        return sum(self.totals.rows[state] for state in UNSUCCESSFUL)


def collect_report(
    reader: Reader, *, now: float, earlier: Sequence[RunFigures] = (), csv_name: str | None = None
) -> RunReport:
    """Collect the report of a state file. Rows are streamed: a long list needs little memory."""
    figures = figures_of(reader)
    overview, processes = reader.overview(now=now), reader.processes()
    running = processes.running
    course = _course(figures, running=running, now=now)
    sizes, causes, stalled = Sizes(), Causes(), 0
    unsuccessful, images, late = list[JobReport](), list[JobReport](), list[JobReport]()
    for job in reader.jobs():
        sizes.add(job)
        causes.add(job)
        stalled += is_stalled(job, now)
        for chosen, limit, belongs in (
            (unsuccessful, MAX_ROWS, job.state in UNSUCCESSFUL),
            (images, MAX_IMAGES, job.state is JobState.SUCCEEDED),
            (late, MAX_ROWS, is_stalled(job, now)),
        ):
            if belongs and len(chosen) < limit:
                chosen.append(job)
        if course is not None:
            course.add_job(job)
    throttled = _add_repeated(reader, course)
    if course is not None:
        unfinished = figures.totals.to_do > 0
        for each in find_gaps(processes, unfinished=unfinished):
            course.add_gap(each)
    took_s, downtimes = sizes.took_s(), reader.downtimes()
    context = context_of(reader)
    return RunReport(
        figures=figures,
        running=running,
        written_at=now,
        timeline=None if course is None else _with_names(course.timeline(), reader),
        targets=_targets(overview, throttled),
        sizes=sizes.filled(),
        median_s=median(took_s) if took_s else None,
        causes=causes.ranked(),
        unsuccessful=unsuccessful,
        stalled=stalled,
        servers=overview.servers,
        copies=overview.copies,
        context=context,
        downtimes=downtimes,
        names=reader.volume_names(volumes_of(downtimes)),
        images=images,
        late=late,
        unfinished_images=unfinished_images(reader.abandoned()),
        actions=actions_of(reader, cloud=context.cloud_name, running=running, now=now),
        earlier=earlier,
        deliveries=delivery_report(reader),
        csv_name=csv_name,
    )


def _with_names(timeline: Timeline, reader: Reader) -> Timeline:
    """The timeline with the volume's name at bars of repeated attempts, too."""
    names = reader.volume_names({bar.volume_id for bar in timeline.bars if bar.volume_name is None})
    bars = [replace(bar, volume_name=bar.volume_name or names.get(bar.volume_id)) for bar in timeline.bars]
    return replace(timeline, bars=bars)


def _course(figures: RunFigures, *, running: bool, now: float) -> TimelineBuilder | None:
    """A timeline from the first export to the last change, or to now while exports are under way."""
    began_at, ended_at = figures.span.began_at, figures.span.ended_at
    if began_at is None:
        return None
    under_way = running or figures.totals.rows[JobState.EXPORTING] > 0
    return TimelineBuilder(began_at, max(began_at, now if under_way or ended_at is None else ended_at))


def _add_repeated(reader: Reader, course: TimelineBuilder | None) -> Counter[TargetKey]:
    """Add every attempt that was followed by another; returns how many of each target were throttled."""
    throttled = Counter[TargetKey]()
    for attempt in reader.attempts(JobState.PENDING):
        throttled[attempt.target] += mark_of(attempt) is Mark.THROTTLED
        if course is not None:
            course.add_repeated(attempt)
    return throttled


def _targets(overview: Overview, throttled: Mapping[TargetKey, int]) -> list[TargetLine]:
    rates = {target.key: target.requests_per_second for target in overview.targets}
    return [
        TargetLine(
            key=key, totals=totals, throttled=throttled.get(key, 0), requests_per_second=rates.get(key)
        )
        for key, totals in totals_by_target(overview.tallies).items()
    ]


class Verdict(msgspec.Struct, frozen=True):
    """The verdict on a run, and the CSS class of its colour."""

    words: str
    class_: str


def verdict(report: RunReport) -> Verdict:
    """How the run went, in a few words."""
    rows = report.totals.rows
    if report.servers and not report.running:
        return Verdict("servers still stopped", "bad")
    if report.copies and not report.running:
        return Verdict("temporary copies not deleted", "bad")
    if report.totals.to_do:
        return Verdict("running", "going") if report.running else Verdict("unfinished", "open")
    if rows[JobState.FAILED] or rows[JobState.AMBIGUOUS]:
        return Verdict("done, with failures", "bad")
    counts = report.deliveries.counts
    if counts is not None and counts.rows_undelivered:
        if report.running:
            return Verdict("delivering", "going")
        return Verdict("exported, not delivered", "bad" if counts.failed else "open")
    return Verdict("done", "ok")


def headline(report: RunReport) -> str:
    """The run in a sentence or two; servers that are still stopped have a place of their own."""
    text = totals_sentence(report.totals, report.figures.took_s)
    if report.stalled:
        text += f" {count_of(report.stalled, 'export')} past the deadline, still polled."
    for words in delivery_lines(report.deliveries.counts):
        text += f" {words[0].upper()}{words[1:]}."
    return text


#: Upper bounds of the classes, in GiB; the last is the largest volume that EVS exports.
CLASS_ENDS_GIB = (10, 50, 100, 250, 500, 1024)


def comparison(report: RunReport, clock: Callable[[float | None], str]) -> str | None:
    """The run before this one in a sentence; None if none is known. `clock` formats a time."""
    if not report.earlier:
        return None
    before = report.earlier[-1]
    return f"The run before ({clock(before.run.created_at)}): {totals_sentence(before.totals, before.took_s)}"


class SizeClass(msgspec.Struct):
    """The rows whose volumes are of about the same size."""

    name: str
    rows: Counter[JobState] = msgspec.field(default_factory=Counter)
    gib: int = 0  #: of the succeeded rows
    #: Seconds from acceptance to the end of the succeeded rows: eight bytes each, so that a million fit.
    took_s: array[float] = msgspec.field(default_factory=lambda: array("d"))

    def add(self, job: JobReport) -> None:
        """Count one row."""
        self.rows[job.state] += 1
        if job.state is JobState.SUCCEEDED:
            self.gib += job.size_gib or 0
            if job.accepted_at is not None and job.finished_at is not None:
                self.took_s.append(max(0.0, job.finished_at - job.accepted_at))

    @property
    def median_s(self) -> float | None:
        """Median duration of an export in seconds; None if none succeeded."""
        return median(self.took_s) if self.took_s else None

    @property
    def longest_s(self) -> float | None:
        """Duration of the longest export in seconds; None if none succeeded."""
        return max(self.took_s, default=None)

    @property
    def mib_per_second(self) -> float | None:
        """Mean speed of one export; None if none succeeded."""
        seconds = sum(self.took_s)
        return self.gib * 1024 / seconds if seconds and self.gib else None


class Sizes:
    """Groups rows into classes by the size of their volumes."""

    def __init__(self) -> None:
        starts = (0, *CLASS_ENDS_GIB)
        names = [f"up to {CLASS_ENDS_GIB[0]} GiB"]
        names += [
            f"{number(low + 1)}–{number(end)} GiB"
            for low, end in zip(starts[1:], CLASS_ENDS_GIB[1:], strict=False)
        ]
        self._classes = [
            SizeClass(name) for name in (*names, f"over {number(CLASS_ENDS_GIB[-1])} GiB", "not known")
        ]

    def add(self, job: JobReport) -> None:
        """Count one row in its class."""
        place = -1 if job.size_gib is None else bisect_left(CLASS_ENDS_GIB, job.size_gib)
        self._classes[place].add(job)

    def filled(self) -> list[SizeClass]:
        """The classes that have rows, smallest first; unknown sizes last."""
        return [each for each in self._classes if each.rows]

    def took_s(self) -> array[float]:
        """Durations of all succeeded exports, in seconds."""
        together = array("d")
        for each in self._classes:
            together.extend(each.took_s)
        return together

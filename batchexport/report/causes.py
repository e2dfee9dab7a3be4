"""Failures grouped by cause: the cloud's words, how many rows, some of them by name, and what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import msgspec

from batchexport.model import JobState
from batchexport.report.advice import advice_on, who_acts
from batchexport.store import JobReport, Reader, ReasonCount

#: Rows named for each cause; the CSV report has them all.
MAX_EXAMPLES = 5
#: Distinct causes. A cloud that words every failure differently must not fill the memory.
MAX_CAUSES = 500
#: Volumes named for each reason of a message, and failed rows read to find them.
MAX_VOLUMES, MAX_SEARCHED = 3, 2000
OTHER_REASONS = "other reasons, each in its own words"
#: The states of rows that ended without an image.
UNSUCCESSFUL = frozenset({JobState.FAILED, JobState.AMBIGUOUS, JobState.SKIPPED})

_ID = re.compile(r"\b(?:req-)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE)
#: Whether one server or several, the cause is the same.
_SERVERS = re.compile(r"\bservers? …(?:(?:, | and )…)*")
_LAST_ATTEMPT = re.compile(r" \(attempt \d+ of \d+\)$")


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One row with the cause."""

    line: int
    volume_id: str
    image_name: str
    request_id: str | None
    volume_name: str | None = None


class Cause(msgspec.Struct, kw_only=True):
    """Rows that ended for the same reason."""

    state: JobState
    words: str  #: the cloud's words for the first row, without ids
    code: str | None
    status: int | None  #: HTTP status
    advice: str  #: what to do about it
    who: str  #: who is able to do it
    rows: int = 0
    gib: int = 0
    examples: list[Example] = msgspec.field(default_factory=list)


class Causes:
    """Groups the rows that need attention by cause."""

    def __init__(self) -> None:
        self._found: dict[tuple[JobState, str | None, int | None, str], Cause] = {}

    def add(self, job: JobReport) -> None:
        """Add one row; ignored unless it has no image, or a doubtful one."""
        if job.state not in UNSUCCESSFUL and not is_doubtful(job):
            return
        words = normalized_reason(job.reason)
        key = (job.state, job.code, job.status, words)
        if key not in self._found and len(self._found) >= MAX_CAUSES:
            words = OTHER_REASONS
            key = (job.state, None, None, words)
        cause = self._found.get(key)
        if cause is None:
            _, code, status, _ = key
            advice = advice_on(job.state, code=code, status=status, words=words)
            who = who_acts(job.state, code=code, status=status, words=words)
            cause = Cause(state=job.state, words=words, code=code, status=status, advice=advice, who=who)
            self._found[key] = cause
        cause.rows += 1
        cause.gib += job.size_gib or 0
        if len(cause.examples) < MAX_EXAMPLES:
            cause.examples.append(_example(job))

    def ranked(self) -> list[Cause]:
        """The causes: failures before skipped rows, most frequent first."""
        order = (JobState.FAILED, JobState.AMBIGUOUS, JobState.SUCCEEDED, JobState.SKIPPED)
        return sorted(
            self._found.values(), key=lambda cause: (order.index(cause.state), -cause.rows, cause.words)
        )


def is_doubtful(job: JobReport) -> bool:
    """Whether the row succeeded with a doubtful image, such as one without bytes."""
    return job.state is JobState.SUCCEEDED and job.code is not None


def top_reasons(reader: Reader, limit: int) -> list[ReasonCount]:
    """Why rows failed, most frequent reason first; reasons that differ only in ids count as one.

    A reason that all its rows share word for word keeps its ids.
    """
    return _most_common(reader.reasons(), limit)


def top_doubts(reader: Reader, limit: int) -> list[ReasonCount]:
    """What is doubtful about images of succeeded rows, most frequent first."""
    return _most_common(reader.reasons(doubtful=True), limit)


def _most_common(reasons: Iterable[ReasonCount], limit: int) -> list[ReasonCount]:
    rows = Counter[tuple[str, str | None]]()
    wordings: dict[tuple[str, str | None], str] = {}
    for each in reasons:
        key = (normalized_reason(each.reason), each.code)
        if key not in rows and len(rows) >= MAX_CAUSES:
            key = (OTHER_REASONS, None)
        wordings[key] = key[0] if key in rows else each.reason or key[0]
        rows[key] += each.jobs
    return [
        ReasonCount(reason=wordings[key], code=key[1], jobs=jobs) for key, jobs in rows.most_common(limit)
    ]


def volumes_of_reasons(reader: Reader, reasons: Iterable[ReasonCount]) -> dict[str, list[str]]:
    """For each of these reasons some of its volumes, by name or else id, from the first failed rows."""
    found: dict[str, list[str]] = {each.reason: [] for each in reasons}
    by_reason = {normalized_reason(reason): volumes for reason, volumes in found.items()}
    for job in islice(reader.jobs({JobState.FAILED}) if found else (), MAX_SEARCHED):
        volumes = by_reason.get(normalized_reason(job.reason), [])
        if len(volumes) < MAX_VOLUMES:
            volumes.append(job.volume_name or job.volume_id)
    return found


def normalized_reason(reason: str | None) -> str:
    """The reason without what differs from row to row: ids and the attempt number."""
    flat = " ".join((reason or "no reason was given").split())
    return _SERVERS.sub("server …", _ID.sub("…", _LAST_ATTEMPT.sub("", flat)))


def _example(job: JobReport) -> Example:
    return Example(
        line=job.line,
        volume_id=job.volume_id,
        image_name=job.image_name,
        request_id=job.request_id,
        volume_name=job.volume_name,
    )

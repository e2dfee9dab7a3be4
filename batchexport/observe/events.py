"""Events: one JSON object a line, for programs that follow a run. FIELDS documents them."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from batchexport.changes import JobChange
from batchexport.deliveries import DeliveryChanged, DeliveryState
from batchexport.identity import CloudIdentity
from batchexport.model import Job, JobState, TargetKey
from batchexport.redaction import redacted
from batchexport.report.totals import Totals, totals_json
from batchexport.store import Overview, RunRecord

log = logging.getLogger(__name__)

#: Raised when a field changes its meaning or is removed; fields may be added without it.
SCHEMA = 1
NO_CLOUDS: Mapping[TargetKey, CloudIdentity] = {}


class Event(StrEnum):
    """What happened."""

    RUN_STARTED = "run_started"
    JOB_CHANGED = "job_changed"
    DELIVERY_CHANGED = "delivery_changed"
    RATE_CHANGED = "rate_changed"
    RUN_ENDED = "run_ended"
    EVENTS_DROPPED = "events_dropped"


#: Fields of every event, with their meanings (Markdown).
COMMON_FIELDS: Mapping[str, str] = {
    "schema": f"Version of the format, {SCHEMA}. Fields may be added under the same version.",
    "time": "When it happened: ISO 8601, UTC, milliseconds.",
    "event": "Name of the event.",
    "run_id": "Id of the run; null before the run has one.",
}
#: What each event means, and its other fields. A value that is not known is null.
FIELDS: Mapping[Event, tuple[str, Mapping[str, str]]] = {
    Event.RUN_STARTED: (
        "A process starts or resumes a run.",
        {
            "state_file": "Path of the state file.",
            "list_name": "File name of the list.",
            "batchexport": "Version that created the state file.",
            "host": "Host name of this machine.",
            "clouds": "Cloud, region and project of each target as sign-in found them; empty before that.",
            "totals": "Rows and GiB of every state, as in `status -f json`.",
        },
    ),
    Event.JOB_CHANGED: (
        "A row moved from one state to another.",
        {
            "job_id": "Number of the row in the state file.",
            "line": "Line of the list.",
            "target": "`cloud/region/project`.",
            "volume_id": "UUID of the volume.",
            "volume_name": "Name of the volume.",
            "image_name": "Name of the image.",
            "image_id": "UUID of the image.",
            "size_gib": "Size of the volume in GiB.",
            "attempt": "Number of the attempt, from 1; 0: never attempted.",
            "from": "State before.",
            "to": "State after.",
            "reason": "Why, in the cloud's own words where it gave any.",
            "code": "Code of the reason.",
            "http_status": "HTTP status of the answer.",
            "request_id": "The cloud's id of the request.",
            "export_seconds": "How long the export took that just ended.",
        },
    ),
    Event.DELIVERY_CHANGED: (
        "The delivery of an image moved from one state to another.",
        {
            "delivery_id": "Number of the delivery in the state file.",
            "job_id": "Number of the row in the state file.",
            "line": "Line of the list.",
            "target": "`cloud/region/project` that the image comes from.",
            "volume_id": "UUID of the volume.",
            "image_name": "Name of the image.",
            "image_id": "UUID of the image that is delivered.",
            "destination": "Where to, as it was written.",
            "attempt": "Number of the attempt, from 1; 0: never attempted.",
            "from": "State before.",
            "to": "State after.",
            "result_id": "What is there, or is being made: an image, a volume, a project, the URL of a file.",
            "size_bytes": "Size of the image.",
            "hash": "Algorithm and digits of its data, as verified.",
            "verified_by": "What proved that it is there and whole.",
            "reason": "Why it failed, or what it waits for.",
            "delivery_seconds": "How long the delivery took that is done now.",
        },
    ),
    Event.RATE_CHANGED: (
        "The cloud allows another request rate than 15 seconds ago.",
        {"target": "`cloud/region/project`.", "requests_per_second": "The rate allowed now; 0: unlimited."},
    ),
    Event.RUN_ENDED: (
        "The process ends.",
        {
            "exit_code": "Exit code of the process.",
            "error": "The error that ended it; null: none.",
            "clouds": "As above.",
            "totals": "As above; null if no state file was created.",
        },
    ),
    Event.EVENTS_DROPPED: (
        "The reader was too slow, or events could not be written: some are missing before this one.",
        {"count": "How many are missing."},
    ),
}


class EventStream(Protocol):
    """What events are written to."""

    def write(self, text: str, /) -> int:
        """Take the text. Raises OSError, or ValueError if the stream is closed."""

    def flush(self) -> None:
        """Pass the text on to readers."""


class EventLog:
    """Writes events to a stream; when the stream breaks, it warns once and writes no more."""

    def __init__(
        self,
        stream: EventStream,
        *,
        broken: Callable[[], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._tell_broken = broken
        self._now = now
        self._broken = False
        self._run_id: str | None = None

    def run_started(self, run: RunRecord, overview: Overview, state_file: str) -> None:
        """A process starts or resumes a run."""
        self._run_id = run.run_id
        self._write(
            Event.RUN_STARTED,
            {
                "state_file": state_file,
                "list_name": run.list_name,
                "batchexport": run.version,
                "host": socket.gethostname(),
                "clouds": _clouds(overview.identities),
                "totals": totals_json(Totals.of(overview.tallies)),
            },
        )

    def job_changed(
        self,
        change: JobChange,
        place: tuple[int, TargetKey],
        volume_name: str | None = None,
    ) -> None:
        """A row went from one state to another. `place` is its line in the list and its target."""
        line, target = place
        job, ending = change.job, change.ending
        self._write(
            Event.JOB_CHANGED,
            {
                "job_id": job.job_id,
                "line": line,
                "target": str(target),
                "volume_id": job.volume_id,
                "volume_name": volume_name,
                "image_name": job.image_name,
                "image_id": job.image_id,
                "size_gib": job.size_gib,
                "attempt": job.attempt,
                "from": change.before,
                "to": change.after,
                "reason": ending.reason if ending else None,
                "code": ending.code if ending else None,
                "http_status": ending.status if ending else None,
                "request_id": (ending.request_id if ending else None) or job.request_id,
                "export_seconds": _export_seconds(job, change.before, self._now()),
            },
        )

    def delivery_changed(self, change: DeliveryChanged, target: TargetKey) -> None:
        """A delivery went from one state to another; `target` is where its image comes from."""
        after = change.delivery
        is_done = after.state is DeliveryState.DELIVERED
        self._write(
            Event.DELIVERY_CHANGED,
            {
                "delivery_id": after.delivery_id,
                "job_id": after.job_id,
                "line": after.line,
                "target": str(target),
                "volume_id": after.volume_id,
                "image_name": after.image_name,
                "image_id": after.image_id,
                "destination": after.destination,
                "attempt": after.attempt,
                "from": change.before,
                "to": after.state,
                "result_id": after.result_id,
                "size_bytes": after.size_bytes,
                "hash": after.image_hash,
                "verified_by": after.verified_by,
                "reason": after.reason,
                "delivery_seconds": _seconds(after.started_at, after.ended_at) if is_done else None,
            },
        )

    def rate_changed(self, target: TargetKey, requests_per_second: float) -> None:
        """The rate that the cloud allows has changed."""
        values = {"target": str(target), "requests_per_second": round(requests_per_second, 3)}
        self._write(Event.RATE_CHANGED, values)

    def run_ended(
        self,
        exit_code: int,
        error: str | None,
        totals: Totals | None,
        identities: Mapping[TargetKey, CloudIdentity] = NO_CLOUDS,
    ) -> None:
        """The process ends its work on the run. `totals` is None if there is no state file."""
        values = {
            "exit_code": exit_code,
            "error": error,
            "clouds": _clouds(identities),
            "totals": None if totals is None else totals_json(totals),
        }
        self._write(Event.RUN_ENDED, values)

    def _write(self, event: Event, values: Mapping[str, object]) -> None:
        if self._broken:
            return
        try:
            self._stream.write(_line(event, self._now(), {"run_id": self._run_id, **values}))
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._broken = True
            log.warning(
                "no more events are written: %s",
                error,
                extra={"action": "events_broken", "error": str(error)},
            )
            if self._tell_broken is not None:
                self._tell_broken()


def dropped_events(count: int) -> str:
    """The event that stands for events dropped because their reader was too slow."""
    return _line(Event.EVENTS_DROPPED, time.time(), {"run_id": None, "count": count})


def _clouds(identities: Mapping[TargetKey, CloudIdentity]) -> list[dict[str, str | None]]:
    return [
        {
            "target": str(key),
            "cloud": found.cloud,
            "region": found.region,
            "project": found.project_name,
            "project_id": found.project_id,
        }
        for key, found in identities.items()
    ]


def _line(event: Event, at: float, values: Mapping[str, object]) -> str:
    time_ = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    head = {"schema": SCHEMA, "time": time_, "event": event}
    return redacted(json.dumps({**head, **values}, ensure_ascii=False)) + "\n"


def _seconds(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(max(0.0, end - begin), 3)


def _export_seconds(job: Job, before: JobState, now: float) -> float | None:
    """Seconds that the export which just ended took; None if none ended."""
    if before is not JobState.EXPORTING or job.accepted_at is None:
        return None
    return round(max(0.0, now - job.accepted_at), 3)

"""Events: one JSON object a line, for programs that follow a run. docs/morning.md says what each holds."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from batchexport.model import Ending, Job, JobState, TargetKey
from batchexport.redaction import redacted
from batchexport.report.totals import Totals, totals_json
from batchexport.store import RunRecord

log = logging.getLogger(__name__)

#: Raised when a field changes its meaning or goes away; fields may be added without it.
SCHEMA = 1


class Event(StrEnum):
    """What happened."""

    RUN_STARTED = "run_started"
    JOB_CHANGED = "job_changed"
    RATE_CHANGED = "rate_changed"
    RUN_ENDED = "run_ended"
    EVENTS_DROPPED = "events_dropped"


class EventStream(Protocol):
    """What events are written to."""

    def write(self, text: str, /) -> int:
        """Take the text. Raises OSError, or ValueError where it is closed."""

    def flush(self) -> None:
        """Let the text be seen."""


class EventLog:
    """Writes events to a stream; when that breaks, it says so once and writes no more."""

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

    def run_started(self, run: RunRecord, totals: Totals, state_file: str) -> None:
        """A process begins, or carries on, with a run."""
        self._run_id = run.run_id
        self._write(
            Event.RUN_STARTED,
            {
                "state_file": state_file,
                "list_name": run.list_name,
                "batchexport": run.version,
                "totals": totals_json(totals),
            },
        )

    def job_changed(
        self,
        job: Job,
        before: JobState,
        after: JobState,
        ending: Ending | None,
        place: tuple[int, TargetKey],
        volume_name: str | None = None,
    ) -> None:
        """A row went from one state to another. `place` is its line in the list, and its target."""
        line, target = place
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
                "from": before,
                "to": after,
                "reason": ending.reason if ending else None,
                "code": ending.code if ending else None,
                "http_status": ending.status if ending else None,
                "request_id": (ending.request_id if ending else None) or job.request_id,
                "export_seconds": _export_seconds(job, before, self._now()),
            },
        )

    def rate_changed(self, target: TargetKey, requests_per_second: float) -> None:
        """The rate that the cloud allows is another one now."""
        values = {"target": str(target), "requests_per_second": round(requests_per_second, 3)}
        self._write(Event.RATE_CHANGED, values)

    def run_ended(self, exit_code: int, error: str | None, totals: Totals | None) -> None:
        """The process ends its work on the run. `totals` is None where no state file was made."""
        values = {
            "exit_code": exit_code,
            "error": error,
            "totals": None if totals is None else totals_json(totals),
        }
        self._write(Event.RUN_ENDED, values)

    def _write(self, event: Event, values: Mapping[str, object]) -> None:
        if self._broken:
            return
        try:
            self._stream.write(_line(event, self._now(), {"run_id": self._run_id, **values}))
            self._stream.flush()
        except (OSError, ValueError) as error:  # a closed stream is a ValueError
            self._broken = True
            log.warning("events are written no more: %s", error)
            if self._tell_broken is not None:
                self._tell_broken()


def dropped_events(count: int) -> str:
    """The event in the place of those that no reader took in time."""
    return _line(Event.EVENTS_DROPPED, time.time(), {"run_id": None, "count": count})


def _line(event: Event, at: float, values: Mapping[str, object]) -> str:
    time_of_it = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    head = {"schema": SCHEMA, "time": time_of_it, "event": event}
    return redacted(json.dumps({**head, **values}, ensure_ascii=False)) + "\n"


def _export_seconds(job: Job, before: JobState, now: float) -> float | None:
    """How long the export took that ended just now; None where none ended."""
    if before is not JobState.EXPORTING or job.accepted_at is None:
        return None
    return round(max(0.0, now - job.accepted_at), 3)

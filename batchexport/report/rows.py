"""The rows of a run as a table, CSV or JSON, streamed: a report of a million rows needs no memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator
from enum import StrEnum

from batchexport.joblist import REPORT_COLUMNS, Column
from batchexport.joblist.formulas import guarded
from batchexport.model import JobState
from batchexport.report.servers import server_json, servers_line
from batchexport.report.totals import Totals, gib_text, rows_text, totals_json
from batchexport.report.words import iso_utc, one_line, padded
from batchexport.store import JobReport, StateReader

Cell = str | int | float | bool | None

#: The list's own columns come first: a CSV report is a job list again, in which every image has its name.
COLUMNS = (*(each.value for each in Column if each is not Column.VOLUME_NAME), *REPORT_COLUMNS)
#: Other people's words. The list's other columns stay as they are, for the report is a list again.
_GUARDED = frozenset({"image_name", "volume_name", *REPORT_COLUMNS})
_TABLE = "{:>7}  {:<36}  {:<10}  {:>6}  {:<36}  {:<46}  {}"


class Format(StrEnum):
    """The forms of a report."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def report_lines(
    reader: StateReader, form: Format, *, now: float, only: Collection[JobState] = ()
) -> Iterator[str]:
    """The lines of the report, without line ends. `only` chooses the rows; totals are always of all rows."""
    jobs = reader.jobs(states=frozenset(only)) if only else reader.jobs()
    if form is Format.CSV:
        yield from _csv(jobs, now)
    elif form is Format.JSON:
        yield from _json(reader, jobs, now)
    else:
        yield from _table(reader, jobs, now)


def is_stalled(job: JobReport, now: float) -> bool:
    """Whether the export is past its deadline; it is still watched, so this is no state."""
    return job.state is JobState.EXPORTING and job.deadline_at is not None and job.deadline_at < now


def cells(job: JobReport, now: float) -> dict[str, Cell]:
    """The row's value for each of COLUMNS; None where there is none."""
    options, target = job.options, job.target
    return {
        "volume_id": job.volume_id,
        "image_name": job.image_name,
        "disk_format": options.disk_format,
        "container_format": options.container_format,
        "force": options.force,
        "in_use": options.in_use,
        "os_type": options.os_type,
        "visibility": options.visibility,
        "protected": options.protected,
        "timeout": None if options.timeout_s is None else f"{options.timeout_s:.15g}s",
        "cloud": target.cloud,
        "region": target.region,
        "project": target.project,
        "state": job.state.value,
        "image_id": job.image_id,
        "size_gib": job.size_gib,
        "attempts": job.attempts,
        "reason": job.reason,
        "code": job.code,
        "http_status": job.status,
        "request_id": job.request_id,
        "started_at": iso_utc(job.intent_at) or None,
        "accepted_at": iso_utc(job.accepted_at) or None,
        "finished_at": iso_utc(job.finished_at) or None,
        "stalled": is_stalled(job, now),
        "line": job.line,
        "target": str(target),
        "image_hash": job.image_hash,
    }


class _Line:
    """A file for csv.writer whose write returns the line instead of keeping it."""

    def write(self, text: str) -> str:
        return text


def _csv(jobs: Iterator[JobReport], now: float) -> Iterator[str]:
    writer = csv.writer(_Line(), lineterminator="")
    yield str(writer.writerow(COLUMNS))
    for job in jobs:
        values = cells(job, now)
        yield str(writer.writerow([_csv_cell(name, values[name]) for name in COLUMNS]))


def _csv_cell(name: str, value: Cell) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return guarded(value) if name in _GUARDED and isinstance(value, str) else value


def _json(reader: StateReader, jobs: Iterator[JobReport], now: float) -> Iterator[str]:
    run = reader.run
    head = {"run_id": run.run_id, "created_at": iso_utc(run.created_at), "list_name": run.list_name}
    yield f'{{"run": {json.dumps(head, ensure_ascii=False)},'
    servers = [server_json(server) for server in reader.servers()]
    yield f'"servers_down": {json.dumps(servers, ensure_ascii=False)},'
    yield f'"totals": {json.dumps(totals_json(Totals.of(reader.tallies())))},'
    yield '"jobs": ['
    before = None
    for job in jobs:
        if before is not None:
            yield before + ","
        before = json.dumps(cells(job, now), ensure_ascii=False)
    if before is not None:
        yield before
    yield "]}"


def _table(reader: StateReader, jobs: Iterator[JobReport], now: float) -> Iterator[str]:
    if line := servers_line(reader.servers()):
        yield from (line, "")
    yield _TABLE.format("LINE", "VOLUME", "STATE", "GIB", "IMAGE", "IMAGE NAME", "REASON")
    for job in jobs:
        note = "stalled: past its deadline, still watched" if is_stalled(job, now) else job.reason
        name, gib = padded(one_line(job.image_name, 46), 46), "" if job.size_gib is None else job.size_gib
        line = _TABLE.format(
            job.line, job.volume_id, job.state, gib, job.image_id or "", name, one_line(note, 200)
        )
        yield line.rstrip()
    totals = Totals.of(reader.tallies())
    yield ""
    yield rows_text(totals)
    yield gib_text(totals)

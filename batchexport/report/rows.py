"""The rows of a run as a table, CSV or JSON, line by line: a million rows need little memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping

from batchexport.image_labels import properties_text, tags_text
from batchexport.lists import REPORT_COLUMNS, Column
from batchexport.lists.csv_text import guarded
from batchexport.model import JobState
from batchexport.report.actions import action_lines, actions_json, actions_of
from batchexport.report.context import context_json, context_of
from batchexport.report.deliveries import (
    DeliveryReport,
    RowDeliveries,
    counts_json,
    deliveries_json,
    delivery_lines,
    delivery_report,
)
from batchexport.report.resources import (
    copies_line,
    resource_records,
    unreleased_by_volume,
    volume_ids_of,
)
from batchexport.report.servers import (
    downtime_json,
    downtime_lines,
    downtimes_by_volume,
    server_json,
    servers_line,
    volumes_of,
)
from batchexport.report.text import (
    display_width,
    iso_utc,
    one_line,
    padded,
    printable,
    truncate,
    truncate_middle,
    wrapped,
)
from batchexport.report.totals import Totals, gib_text, rows_text, totals_json
from batchexport.store import JobReport, Reader, count_deliveries

Cell = str | int | float | bool | None
NO_TEXTS: Mapping[str, str] = {}

#: The columns of a job list come first: a CSV report is a valid job list, with the image name in each row.
COLUMNS = (*(each.value for each in Column), *REPORT_COLUMNS)
#: Columns with words from outside, which a spreadsheet must not take for formulas.
_GUARDED = frozenset({"image_name", "volume_name", *REPORT_COLUMNS})
_TABLE = "{:>7}  {}  {:<36}  {:<10}  {:>6}  {:<36}  {}  {}"
_NAME, _IMAGE_NAME = 24, 54
#: Columns that the wide table takes without reasons; with less room, a row takes several lines.
_WIDE = 208
_NARROW = "{:>7}  {:<10}  {:>6}  {}"
_INDENT = " " * 29


def is_stalled(job: JobReport, now: float) -> bool:
    """Whether the export is past its deadline. It is still polled, so this is no state."""
    return job.state is JobState.EXPORTING and job.deadline_at is not None and job.deadline_at < now


def cells(
    job: JobReport,
    now: float,
    downtimes: Mapping[str, str] = NO_TEXTS,
    unreleased: Mapping[str, str] = NO_TEXTS,
    deliveries: DeliveryReport | None = None,
) -> dict[str, Cell]:
    """The row's value for each of COLUMNS; None = no value. The texts are by volume id."""
    options, target = job.options, job.target
    went = deliveries.of(job) if deliveries is not None else RowDeliveries()
    return {
        "volume_id": job.volume_id,
        "image_name": job.image_name,
        "volume_name": job.volume_name,
        "disk_format": options.disk_format,
        "container_format": options.container_format,
        "force": options.force,
        "in_use": options.in_use,
        "os_type": options.os_type,
        "visibility": options.visibility,
        "protected": options.protected,
        "timeout": None if options.timeout_s is None else f"{options.timeout_s:.15g}s",
        "priority": options.priority,
        "deliver": None if options.deliver is None else " ".join(options.deliver) or "none",
        "image_properties": properties_text(options.properties) if options.properties else None,
        "image_tags": tags_text(options.tags) if options.tags else None,
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
        "downtime": downtimes.get(job.volume_id),
        "unreleased": unreleased.get(job.volume_id),
        "image_hash": job.image_hash,
        "delivery": went.state,
        "delivered_to": went.places,
        "delivery_notes": went.notes,
    }


class _Line:
    """A file for csv.writer whose write returns the line."""

    def write(self, text: str) -> str:
        return text


def csv_lines(reader: Reader, jobs: Iterable[JobReport], *, now: float) -> Iterator[str]:
    """The rows as CSV."""
    downtimes = downtimes_by_volume(reader.downtimes(), now=now)
    unreleased = unreleased_by_volume(reader.overview(now=now))
    deliveries = delivery_report(reader)
    writer = csv.writer(_Line(), lineterminator="")
    yield str(writer.writerow(COLUMNS))
    for job in jobs:
        values = cells(job, now, downtimes, unreleased, deliveries)
        yield str(writer.writerow([_csv_cell(name, values[name]) for name in COLUMNS]))


def images_csv(jobs: Iterable[JobReport]) -> str:
    """The images of these rows as CSV, with their volumes."""
    columns = (
        "volume_id",
        "volume_name",
        "size_gib",
        "image_id",
        "image_name",
        "image_hash",
        "finished_at",
        "target",
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for job in jobs:
        values = cells(job, now=0.0)
        writer.writerow([_csv_cell(name, values[name]) for name in columns])
    return text.getvalue()


def _csv_cell(name: str, value: Cell) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return guarded(value) if name in _GUARDED and isinstance(value, str) else value


def json_lines(reader: Reader, jobs: Iterable[JobReport], *, now: float) -> Iterator[str]:
    """One JSON object: the run, its servers and totals, and the rows as `jobs`."""
    run, downtimes, context = reader.run, reader.downtimes(), context_of(reader)
    overview = reader.overview(now=now)
    servers = overview.servers
    names = reader.volume_names({*volumes_of(downtimes), *volume_ids_of(overview)})
    head = {
        "run_id": run.run_id,
        "created_at": iso_utc(run.created_at),
        "list_name": run.list_name,
        **context_json(context),
    }
    yield f'{{"run": {json.dumps(head, ensure_ascii=False)},'
    down = [server_json(server, names) for server in servers]
    yield f'"servers_down": {json.dumps(down, ensure_ascii=False)},'
    yield f'"resources": {json.dumps(resource_records(overview, names), ensure_ascii=False)},'
    times = [downtime_json(each, names) for each in downtimes]
    yield f'"downtimes": {json.dumps(times, ensure_ascii=False)},'
    actions = actions_of(reader, cloud=context.cloud_name, running=context.running, now=now)
    yield f'"to_do": {json.dumps(actions_json(actions), ensure_ascii=False)},'
    yield f'"totals": {json.dumps(totals_json(Totals.of(overview.tallies)))},'
    deliveries = delivery_report(reader)
    yield f'"deliveries": {json.dumps(counts_json(deliveries.counts))},'
    yield '"jobs": ['
    before, by_volume = None, downtimes_by_volume(downtimes, now=now)
    unreleased = unreleased_by_volume(overview)
    for job in jobs:
        if before is not None:
            yield before + ","
        row: dict[str, object] = {**cells(job, now, by_volume, unreleased, deliveries)}
        if deliveries.by_job:
            row["deliveries"] = deliveries_json(deliveries, job)
        before = json.dumps(row, ensure_ascii=False)
    if before is not None:
        yield before
    yield "]}"


def table_lines(reader: Reader, jobs: Iterable[JobReport], *, now: float, width: int | None) -> Iterator[str]:
    """The rows as a table of at most `width` columns (None = unlimited), then downtimes, sums and actions."""
    context = context_of(reader)
    overview = reader.overview(now=now)
    if line := servers_line(overview.servers):
        yield from (f"{line}; start with: {context.command('servers', ' --start')}", "")
    if line := copies_line(overview.copies):
        yield from (f"{line}; delete with: {context.command('resources', ' --release')}", "")
    if width is None or width >= _WIDE:
        head = (padded("NAME", _NAME), "VOLUME", "STATE", "GIB", "IMAGE", padded("IMAGE NAME", _IMAGE_NAME))
        yield _TABLE.format("LINE", *head, "REASON")
        yield from (_wide_line(job, now, width) for job in jobs)
    else:
        yield _NARROW.format("LINE", "STATE", "GIB", "VOLUME, THEN IMAGE OR REASON")
        for job in jobs:
            yield from _narrow_lines(job, now, width)
    totals, downtimes = Totals.of(overview.tallies), reader.downtimes()
    yield ""
    if times := downtime_lines(downtimes, reader.volume_names(volumes_of(downtimes)), now=now):
        yield from (*times, "")
    yield rows_text(totals)
    yield gib_text(totals)
    yield from delivery_lines(count_deliveries(reader))
    yield from (printable(f"{name}: {words}") for name, words in context.facts)
    actions = actions_of(reader, cloud=context.cloud_name, running=context.running, now=now)
    yield from (f"next: {line}" for line in action_lines(actions))


def _wide_line(job: JobReport, now: float, width: int | None) -> str:
    name, image_name = truncate_middle(job.volume_name, _NAME), truncate_middle(job.image_name, _IMAGE_NAME)
    line = _TABLE.format(
        job.line,
        padded(name, _NAME),
        printable(job.volume_id),
        job.state,
        "" if job.size_gib is None else job.size_gib,
        printable(job.image_id),
        padded(image_name, _IMAGE_NAME),
        printable(_note(job, now)),
    ).rstrip()
    return line if width is None else truncate(line, width)


def _narrow_lines(job: JobReport, now: float, width: int) -> Iterator[str]:
    room = max(20, width - len(_INDENT))
    gib = "" if job.size_gib is None else job.size_gib
    volume = printable(job.volume_id)
    if job.volume_name:
        left = room - display_width(volume) - 3
        volume = f"{truncate_middle(job.volume_name, left)} ({volume})" if left >= 8 else job.volume_name
    yield _NARROW.format(job.line, job.state, gib, truncate_middle(volume, room)).rstrip()
    if job.image_id:
        yield f"{_INDENT}{one_line(f'image {job.image_id}', room)}"
        yield f"{_INDENT}{truncate_middle(job.image_name, room)}"
    if (note := _note(job, now)) and job.state is not JobState.SUCCEEDED:
        yield from (f"{_INDENT}{line}" for line in wrapped(note, room))


def _note(job: JobReport, now: float) -> str | None:
    if not is_stalled(job, now):
        return job.reason
    image = f"; its image is {printable(job.image_status)}" if job.image_status else ""
    return f"stalled: past its deadline, still polled{image}"

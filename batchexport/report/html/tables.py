"""The tables of the page, each with a caption, scoped headings and the number of rows it leaves out."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from shlex import quote
from urllib.parse import quote as url_quote

import msgspec

from batchexport.deliveries import DeliveryState
from batchexport.model import JobState, ServerState
from batchexport.report.deliveries import missing, summary_rows
from batchexport.report.history import RunFigures
from batchexport.report.html.markup import Markup, joined, tag
from batchexport.report.html.svg import share_bar
from batchexport.report.rows import images_csv
from batchexport.report.run_report import MAX_ROWS, RunReport
from batchexport.report.servers import volumes_text
from batchexport.report.text import count_of, duration, number
from batchexport.report.timeline import Timeline
from batchexport.report.totals import ENDED
from batchexport.store import Downtime


class Column(msgspec.Struct, frozen=True):
    """A column; numbers are aligned right."""

    head: str
    is_number: bool = False


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, left_out: int = 0
) -> Markup:
    """A table that scrolls by itself if it is wider than the screen; on a phone each row is a block."""
    heads = [tag("th", column.head, scope="col", class_=_class(column)) for column in columns]
    body = [
        tag(
            "tr",
            *(
                _cell(place, text, column)
                for place, (text, column) in enumerate(zip(row, columns, strict=True))
            ),
        )
        for row in rows
    ]
    note = f" {number(left_out)} more are in the CSV report." if left_out else ""
    inner = tag("table", tag("caption", caption + note), tag("thead", tag("tr", *heads)), tag("tbody", *body))
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def targets_table(report: RunReport) -> Markup:
    """The results of each target."""
    columns = [
        Column("Target"),
        *(Column(state.capitalize(), True) for state in ENDED),
        Column("To do", True),
        Column("GiB exported", True),
        Column("Throttled", True),
        Column("Learned rate", True),
    ]
    rows = [
        [
            str(line.key),
            *(number(line.totals.rows[state]) for state in ENDED),
            number(line.totals.to_do),
            number(line.totals.gib[JobState.SUCCEEDED]),
            number(line.throttled),
            _rate(line.requests_per_second),
        ]
        for line in report.targets
    ]
    return table("By target: cloud, region and project", columns, rows)


def sizes_table(report: RunReport) -> Markup:
    """The results by volume size."""
    heads = ["Rows", "Succeeded", "Failed", "GiB exported", "Median time", "Longest", "MiB/s each"]
    rows = [
        [
            each.name,
            number(each.rows.total()),
            number(each.rows[JobState.SUCCEEDED]),
            number(each.rows[JobState.FAILED]),
            number(each.gib),
            _span(each.median_s),
            _span(each.longest_s),
            "–" if each.mib_per_second is None else f"{each.mib_per_second:,.0f}",
        ]
        for each in report.sizes
    ]
    return table("By size of the volume", [Column("Size"), *(Column(head, True) for head in heads)], rows)


def runs_table(report: RunReport, zone: tzinfo | None) -> Markup:
    """This run below earlier ones."""
    runs = [*report.earlier, report.figures]
    fastest = max((each.gib_per_hour or 0 for each in runs), default=0) or 1
    heads = ["Rows", "Succeeded", "Failed", "Not done", "GiB exported", "Time", "GiB/h"]
    columns = [Column("Run"), *(Column(head, True) for head in heads), Column("Relative")]
    rows = [[*_run_cells(each, zone), share_bar((each.gib_per_hour or 0) / fastest)] for each in runs]
    rows[-1][0] = tag("strong", rows[-1][0], " (this one)")
    return table("This run and earlier ones", columns, rows)


def exports_table(timeline: Timeline, zone: tzinfo | None) -> Markup:
    """The bars of the timeline as a table."""
    columns = [
        Column("Name"),
        Column("Volume"),
        Column("GiB", True),
        Column("What became of it"),
        Column("From"),
        Column("Time", True),
    ]
    columns.append(Column("Image, or reason"))
    rows = [
        [
            bar.volume_name or "",
            tag("code", bar.volume_id),
            "" if bar.size_gib is None else number(bar.size_gib),
            str(bar.kind),
            day_and_time(bar.began_at, zone),
            duration(bar.took_s),
            bar.words,
        ]
        for bar in timeline.bars
    ]
    return table("The exports shown", columns, rows)


def unsuccessful_table(report: RunReport) -> Markup:
    """The rows without an image, one by one."""
    columns = [
        Column("Line", True),
        Column("Name"),
        Column("Volume"),
        Column("State"),
        Column("Reason"),
        Column("Code"),
        Column("Request id"),
    ]
    rows = [
        [
            tag("span", number(job.line), id=f"line-{job.line}"),
            job.volume_name or "",
            tag("code", job.volume_id),
            str(job.state),
            job.reason or "",
            " ".join(str(part) for part in (job.status, job.code) if part is not None),
            _code(job.request_id),
        ]
        for job in report.unsuccessful
    ]
    left_out = report.unsuccessful_rows - len(report.unsuccessful)
    return table(
        f"{count_of(report.unsuccessful_rows, 'row')} without an image.", columns, rows, left_out=left_out
    )


def late_table(report: RunReport, zone: tzinfo | None) -> Markup:
    """The exports past their deadline."""
    columns = [Column("Line", True), Column("Name"), Column("Volume"), Column("GiB", True)]
    columns += [Column("Since"), Column("Time", True), Column("Image"), Column("It is")]
    rows = [
        [
            number(job.line),
            job.volume_name or "",
            tag("code", job.volume_id),
            "" if job.size_gib is None else number(job.size_gib),
            day_and_time(job.accepted_at, zone),
            _span(None if job.accepted_at is None else report.written_at - job.accepted_at),
            _code(job.image_id),
            job.image_status or "",
        ]
        for job in report.late
    ]
    words = f"{count_of(report.stalled, 'export')} past the deadline, still polled."
    return table(words, columns, rows, left_out=report.stalled - len(report.late))


def destinations_table(report: RunReport) -> Markup:
    """How many images are at each destination."""
    columns = [Column("Destination")]
    columns += [Column(head, True) for head in ("Deliveries", "Delivered", "To do", "Failed", "GiB")]
    columns.append(Column("Verified by"))
    return table("Where the images are now", columns, summary_rows(report.deliveries))


def deliveries_table(report: RunReport) -> Markup:
    """Every delivery, those that are missing first."""
    columns = [Column("Line", True), Column("Volume"), Column("Destination"), Column("State")]
    columns += [Column("It is there as"), Column("Verified by, or why it is not there")]
    deliveries = report.deliveries
    done = [
        each
        for theirs in deliveries.by_job.values()
        for each in theirs
        if each.state is DeliveryState.DELIVERED
    ]
    found = [*missing(deliveries), *done]
    rows = [
        [
            number(each.line),
            tag("code", each.volume_id),
            each.destination,
            each.state.replace("_", " "),
            _code(each.result_id if each.state is DeliveryState.DELIVERED else None),
            (each.verified_by if each.state is DeliveryState.DELIVERED else each.reason) or "not begun",
        ]
        for each in found[:MAX_ROWS]
    ]
    return table("Every delivery", columns, rows, left_out=len(found) - len(rows))


def downtimes_table(report: RunReport, zone: tzinfo | None) -> Markup:
    """When which server was down, and for which volumes."""
    columns = [Column("Server"), Column("Id"), Column("Stopped"), Column("Up again")]
    columns += [Column("Down for", True), Column("Volumes")]
    rows = [_downtime_cells(each, report, zone) for each in report.downtimes]
    return table("From the request to stop to the moment it was seen up again", columns, rows)


def _downtime_cells(each: Downtime, report: RunReport, zone: tzinfo | None) -> list[str]:
    begin = each.stopping_at if each.stopping_at is not None else each.down_at
    end: str = tag("strong", f"not yet ({each.state})")
    if each.is_over:
        end = day_and_time(each.up_at, zone) + (" (lost)" if each.state is ServerState.LOST else "")
    return [
        each.name or each.server_id,
        tag("code", each.server_id),
        day_and_time(begin, zone),
        end,
        _span(None if begin is None else (each.up_at or report.written_at) - begin),
        volumes_text(each.volume_ids, report.names),
    ]


def images_links(report: RunReport) -> Markup:
    """The list of images as CSV, to sort and search: inside the page, and as the report beside it."""
    made = report.totals.rows[JobState.SUCCEEDED]
    parts = ["To sort or search: "]
    if made == len(report.images):
        content = base64.b64encode(images_csv(report.images).encode()).decode()
        name = f"{report.title}-images.csv"
        parts.append(
            tag("a", "all images as CSV", href=f"data:text/csv;charset=utf-8;base64,{content}", download=name)
        )
        parts.append(" (inside this page)")
    else:
        parts.append(tag("code", report.context.command("report", f" -f csv -o {quote(report.title)}.csv")))
    if report.csv_name is not None:
        parts += [" · ", tag("a", f"every row: {report.csv_name}", href=url_quote(report.csv_name))]
    return tag("p", *parts)


def images_table(report: RunReport, zone: tzinfo | None) -> Markup:
    """The rows with an image."""
    columns = [Column("Line", True), Column("Name"), Column("Volume"), Column("GiB", True)]
    columns += [Column("Image"), Column("Image name"), Column("Done")]
    rows = [
        [
            number(job.line),
            job.volume_name or "",
            tag("code", job.volume_id),
            "" if job.size_gib is None else number(job.size_gib),
            _code(job.image_id),
            job.image_name,
            day_and_time(job.finished_at, zone),
        ]
        for job in report.images[:MAX_ROWS]
    ]
    made = report.totals.rows[JobState.SUCCEEDED]
    return table(f"{count_of(made, 'image')} made.", columns, rows, left_out=made - len(rows))


def day_and_time(at: float | None, zone: tzinfo | None) -> str:
    """Date and time; empty for None."""
    return "" if at is None else f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M}"


def _run_cells(each: RunFigures, zone: tzinfo | None) -> list[str]:
    rows = each.totals.rows
    return [
        day_and_time(each.run.created_at, zone),
        number(each.totals.all_rows),
        number(rows[JobState.SUCCEEDED]),
        number(rows[JobState.FAILED]),
        number(each.totals.all_rows - rows[JobState.SUCCEEDED] - rows[JobState.FAILED]),
        number(each.totals.gib[JobState.SUCCEEDED]),
        _span(each.took_s),
        "–" if each.gib_per_hour is None else number(each.gib_per_hour),
    ]


def _code(text: str | None) -> Markup:
    return tag("code", text) if text else Markup()


def _cell(place: int, text: str, column: Column) -> Markup:
    if place == 0 and text and not column.is_number:  # an empty heading is none
        return tag("th", text, scope="row", data_label=column.head)
    return tag("td", text, class_=_class(column), data_label=column.head)


def _class(column: Column) -> str | None:
    return "number" if column.is_number else None


def _span(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def _rate(requests_per_second: float | None) -> str:
    return "–" if requests_per_second is None else f"{requests_per_second:,.3g}/s"


def details(summary: str, *content: Markup) -> Markup:
    """Content that is folded on the screen, and open on paper."""
    return tag("details", tag("summary", summary), joined(content))

"""The report as Markdown, for a ticket, a chat or a wiki: headline, causes with what to do, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from batchexport.model import JobState
from batchexport.report.deliveries import missing, summary_rows
from batchexport.report.resources import copies_line
from batchexport.report.run_report import RunReport, comparison, headline, verdict
from batchexport.report.servers import server_text, servers_line, volumes_text
from batchexport.report.text import count_of, duration, iso_utc, number
from batchexport.report.timeline import gap_text
from batchexport.report.totals import ENDED

#: Causes and stalled exports shown; CSV has every row.
MAX_CAUSES = 10
MAX_LATE = 20
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def markdown_report(report: RunReport) -> Iterator[str]:
    """The lines of the report. Times are UTC."""
    span = report.figures.span
    yield f"# {escaped(report.title)}: {verdict(report).words}"
    yield ""
    if report.servers:
        start = code(report.context.command("servers", " --start"))
        yield from (f"**{escaped(servers_line(report.servers))}.** To start: {start}", "")
    if report.copies:
        release = code(report.context.command("resources", " --release"))
        yield from (f"**{escaped(copies_line(report.copies))}.** To delete: {release}", "")
    yield escaped(headline(report))
    yield ""
    if before := comparison(report, iso_utc):
        yield from (escaped(before), "")
    begin = iso_utc(span.began_at) or "nothing exported yet"
    yield f"Run {escaped(report.run.run_id)}, {begin} to {iso_utc(span.ended_at) or 'now'}"
    yield ""
    for name, words in report.context.facts:
        yield f"- {name}: {escaped(words)}"
    for each in report.timeline.gaps if report.timeline else ():
        yield from ("", f"Idle: {gap_text(each, iso_utc)}")
    yield from _actions(report)
    yield from _causes(report)
    yield from _unfinished(report)
    yield from _deliveries(report)
    if report.downtimes:
        heads = ["Server", "stopped", "up again", "down for", "volumes"]
        yield from _table("Servers stopped for exports", heads, _downtimes(report))
    yield from _table(
        "By target", ["Target", *map(str, ENDED), "to do", "GiB", "throttled"], _targets(report)
    )
    heads = ["Size", "rows", "succeeded", "failed", "GiB", "median time", "longest"]
    yield from _table("By size of the volume", heads, _sizes(report))
    if report.earlier:
        heads = ["Run", "rows", "succeeded", "failed", "GiB", "time", "GiB/h"]
        yield from _table("This run and earlier ones", heads, _runs(report))


def escaped(text: str) -> str:
    """The text on one line, escaped for Markdown and HTML."""
    return escaped_part(" ".join(text.split()))


def escaped_part(text: str) -> str:
    """Like `escaped`, but keeps blanks."""
    return _SPECIAL.sub(r"\\\1", text)


def code(text: str) -> str:
    """The text as inline code, in a fence longer than any run of backticks in it."""
    flat = " ".join(text.split())
    longest = max(map(len, re.findall("`+", flat)), default=0)
    fence, gap = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{gap}{flat}{gap}{fence}"


def _actions(report: RunReport) -> Iterator[str]:
    """What is left to do, by whom, with commands to copy."""
    if not report.actions:
        return
    yield from ("", "## To do", "")
    for place, each in enumerate(report.actions, 1):
        yield f"{place}. **{each.who.capitalize()}**: {escaped(each.why)}"
        yield from (f"   - {code(command)}" for command in each.commands)


def _causes(report: RunReport) -> Iterator[str]:
    causes = report.causes
    if not causes:
        return
    yield from ("", "## What went wrong, and what to do")
    for cause in causes[:MAX_CAUSES]:
        answer = ", ".join(str(part) for part in (cause.status, cause.code) if part is not None)
        yield ""
        yield f"- **{count_of(cause.rows, 'row')} {cause.state}**: {escaped(cause.words)}" + (
            f" ({escaped(answer)})" if answer else ""
        )
        pieces = report.context.advised(cause.advice, [each.volume_id for each in cause.examples])
        advice = "".join(code(text) if is_command else escaped_part(text) for text, is_command in pieces)
        yield f"  - What to do ({cause.who}): {advice}"
        for each in cause.examples:
            request = f", request {code(each.request_id)}" if each.request_id else ""
            name = f" {escaped(each.volume_name)}" if each.volume_name else ""
            yield f"  - line {each.line}, volume{name} {code(each.volume_id)}{request}"
        if (left := cause.rows - len(cause.examples)) > 0:
            yield f"  - and {count_of(left, 'more row')}"
    if (left := len(causes) - MAX_CAUSES) > 0:
        yield from ("", f"And {count_of(left, 'more cause')}.")


def _unfinished(report: RunReport) -> Iterator[str]:
    """Exports past their deadline, and images of failed attempts that may be left."""
    if report.late:
        yield from ("", "## Past the deadline, still polled", "")
    for job in report.late[:MAX_LATE]:
        name = f"{escaped(job.volume_name)} " if job.volume_name else ""
        since = iso_utc(job.accepted_at)
        image = f", image {code(job.image_id)}" if job.image_id else ""
        image += f" ({escaped(job.image_status)})" if job.image_status else ""
        yield f"- line {job.line}, volume {name}{code(job.volume_id)}, since {since}{image}"
    if (left := report.stalled - min(len(report.late), MAX_LATE)) > 0:
        yield f"- and {count_of(left, 'more export')}"
    if report.unfinished_images:
        images = count_of(report.unfinished_images, "image")
        command = code(report.context.command("cleanup"))
        yield from ("", f"{images} of failed attempts may be left in the cloud; to list them: {command}")


def _deliveries(report: RunReport) -> Iterator[str]:
    """How many images are at each destination, and why the others are not."""
    if not report.deliveries.by_job:
        return
    heads = ["Destination", "deliveries", "delivered", "to do", "failed", "GiB", "verified by"]
    yield from _table("Where the images are now", heads, summary_rows(report.deliveries))
    not_there = missing(report.deliveries)
    yield from ([""] if not_there else [])
    for each in not_there[:MAX_LATE]:
        words = escaped(each.reason or "not begun")
        yield f"- line {each.line} to {code(each.destination)}: {each.state.replace('_', ' ')}: {words}"
    if (left := len(not_there) - MAX_LATE) > 0:
        yield f"- and {number(left)} more"


def _downtimes(report: RunReport) -> Iterator[list[str]]:
    for each in report.downtimes:
        begin = each.stopping_at if each.stopping_at is not None else each.down_at
        end = iso_utc(each.up_at) if each.is_over else f"not yet ({each.state})"
        took = "" if begin is None else duration((each.up_at or report.written_at) - begin)
        yield [server_text(each), iso_utc(begin), end, took, volumes_text(each.volume_ids, report.names)]


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'--:|' * (len(heads) - 1)}"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _targets(report: RunReport) -> Iterator[list[str]]:
    for line in report.targets:
        counts = [number(line.totals.rows[state]) for state in ENDED]
        gib = number(line.totals.gib[JobState.SUCCEEDED])
        yield [str(line.key), *counts, number(line.totals.to_do), gib, number(line.throttled)]


def _sizes(report: RunReport) -> Iterator[list[str]]:
    for each in report.sizes:
        counts = [each.rows.total(), each.rows[JobState.SUCCEEDED], each.rows[JobState.FAILED], each.gib]
        yield [each.name, *map(number, counts), _span(each.median_s), _span(each.longest_s)]


def _runs(report: RunReport) -> Iterator[list[str]]:
    for each in (*report.earlier, report.figures):
        rows, gib = each.totals.rows, each.totals.gib[JobState.SUCCEEDED]
        counts = [each.totals.all_rows, rows[JobState.SUCCEEDED], rows[JobState.FAILED], gib]
        pace = "–" if each.gib_per_hour is None else number(each.gib_per_hour)
        yield [iso_utc(each.run.created_at)[:16], *map(number, counts), _span(each.took_s), pace]


def _span(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)

"""The report as Markdown, for a ticket, a chat or a wiki: headline, causes with what to do, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from batchexport.model import JobState
from batchexport.report.breaks import words_on_break
from batchexport.report.downtimes import server_text, volumes_text
from batchexport.report.night import Night
from batchexport.report.servers import servers_line
from batchexport.report.totals import ENDED
from batchexport.report.verdict import headline, verdict
from batchexport.report.words import count_of, duration, iso_utc, number

#: Causes and stalled exports that are shown; CSV holds every row.
MOST_CAUSES = 10
MOST_LATE = 20
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def night_markdown(night: Night) -> Iterator[str]:
    """The lines of the report. Times are UTC."""
    span = night.figures.span
    yield f"# {escaped(night.title)}: {verdict(night).words}"
    yield ""
    if night.servers:
        start = code(night.context.command("servers", " --start"))
        yield from (f"**{escaped(servers_line(night.servers))}.** To start: {start}", "")
    yield escaped(headline(night))
    yield ""
    begin = iso_utc(span.began_at) or "nothing exported yet"
    yield f"Run {escaped(night.run.run_id)}, {begin} to {iso_utc(span.ended_at) or 'now'}"
    yield ""
    for name, words in night.context.facts:
        yield f"- {name}: {escaped(words)}"
    for each in night.timeline.breaks if night.timeline else ():
        yield from ("", f"Nobody at work: {words_on_break(each, iso_utc)}")
    yield from _causes(night)
    yield from _unfinished(night)
    if night.downtimes:
        heads = ["Server", "stopped", "up again", "down for", "volumes"]
        yield from _table("Servers stopped for exports", heads, _downtimes(night))
    yield from _table("By target", ["Target", *map(str, ENDED), "to do", "GiB", "throttled"], _targets(night))
    heads = ["Size", "rows", "succeeded", "failed", "GiB", "median time", "longest"]
    yield from _table("By size of the volume", heads, _sizes(night))
    if night.earlier:
        heads = ["Night", "rows", "succeeded", "failed", "GiB", "time", "GiB/h"]
        yield from _table("This night and those before it", heads, _nights(night))


def escaped(text: str) -> str:
    """The text on one line, with nothing in it that Markdown or HTML takes for its own."""
    return escaped_part(" ".join(text.split()))


def escaped_part(text: str) -> str:
    """As `escaped`, blanks as they are."""
    return _SPECIAL.sub(r"\\\1", text)


def code(text: str) -> str:
    """The text as code, inside a fence that is longer than any row of backticks in it."""
    flat = " ".join(text.split())
    longest = max(map(len, re.findall("`+", flat)), default=0)
    fence, gap = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{gap}{flat}{gap}{fence}"


def _causes(night: Night) -> Iterator[str]:
    causes = night.causes
    if not causes:
        return
    yield from ("", "## What went wrong, and what to do")
    for cause in causes[:MOST_CAUSES]:
        answer = ", ".join(str(part) for part in (cause.status, cause.code) if part is not None)
        yield ""
        yield f"- **{count_of(cause.rows, 'row')} {cause.state}**: {escaped(cause.words)}" + (
            f" ({escaped(answer)})" if answer else ""
        )
        pieces = night.context.advised(cause.advice)
        advice = "".join(code(text) if is_command else escaped_part(text) for text, is_command in pieces)
        yield f"  - What to do: {advice}"
        for each in cause.examples:
            request = f", request {code(each.request_id)}" if each.request_id else ""
            name = f" {escaped(each.volume_name)}" if each.volume_name else ""
            yield f"  - line {each.line}, volume{name} {code(each.volume_id)}{request}"
        if (left := cause.rows - len(cause.examples)) > 0:
            yield f"  - and {count_of(left, 'more row')}"
    if (left := len(causes) - MOST_CAUSES) > 0:
        yield from ("", f"And {count_of(left, 'more cause')}.")


def _unfinished(night: Night) -> Iterator[str]:
    """Exports past their deadline, and images of failed attempts that may be left."""
    if night.late:
        yield from ("", "## Past the deadline, still watched", "")
    for job in night.late[:MOST_LATE]:
        name = f"{escaped(job.volume_name)} " if job.volume_name else ""
        since = iso_utc(job.accepted_at)
        image = f", image {code(job.image_id)}" if job.image_id else ""
        image += f" ({escaped(job.image_status)})" if job.image_status else ""
        yield f"- line {job.line}, volume {name}{code(job.volume_id)}, since {since}{image}"
    if (left := night.stalled - min(len(night.late), MOST_LATE)) > 0:
        yield f"- and {count_of(left, 'more export')}"
    if night.abandoned:
        images = count_of(night.abandoned, "image")
        command = code(night.context.command("cleanup"))
        yield from ("", f"{images} of attempts without success may be left in the cloud: {command} looks")


def _downtimes(night: Night) -> Iterator[list[str]]:
    for each in night.downtimes:
        begin = each.stopping_at if each.stopping_at is not None else each.down_at
        end = iso_utc(each.up_at) if each.is_over else f"not yet ({each.state})"
        took = "" if begin is None else duration((each.up_at or night.written_at) - begin)
        yield [server_text(each), iso_utc(begin), end, took, volumes_text(each.volume_ids, night.names)]


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'--:|' * (len(heads) - 1)}"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _targets(night: Night) -> Iterator[list[str]]:
    for line in night.targets:
        counts = [number(line.totals.rows[state]) for state in ENDED]
        gib = number(line.totals.gib[JobState.SUCCEEDED])
        yield [str(line.key), *counts, number(line.totals.to_do), gib, number(line.throttled)]


def _sizes(night: Night) -> Iterator[list[str]]:
    for each in night.sizes:
        counts = [each.rows.total(), each.rows[JobState.SUCCEEDED], each.rows[JobState.FAILED], each.gib]
        yield [each.name, *map(number, counts), _span(each.median_s), _span(each.longest_s)]


def _nights(night: Night) -> Iterator[list[str]]:
    for each in (*night.earlier, night.figures):
        rows, gib = each.totals.rows, each.totals.gib[JobState.SUCCEEDED]
        counts = [each.totals.all_rows, rows[JobState.SUCCEEDED], rows[JobState.FAILED], gib]
        pace = "–" if each.gib_per_hour is None else number(each.gib_per_hour)
        yield [iso_utc(each.run.created_at)[:16], *map(number, counts), _span(each.took_s), pace]


def _span(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)

"""The report as Markdown, for a ticket, a chat or a wiki: headline, causes with what to do, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from batchexport.model import JobState
from batchexport.report.breaks import words_on_break
from batchexport.report.causes import Cause
from batchexport.report.night import Night
from batchexport.report.totals import ENDED
from batchexport.report.verdict import headline, title_of, verdict
from batchexport.report.words import count_of, duration, iso_utc, number

#: Causes that are shown; CSV holds every row.
MOST_CAUSES = 10
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def night_markdown(night: Night) -> Iterator[str]:
    """The lines of the report. Times are UTC."""
    span = night.figures.span
    yield f"# {escaped(title_of(night.run))}: {verdict(night).words}"
    yield ""
    yield escaped(headline(night))
    yield ""
    begin = iso_utc(span.began_at) or "nothing exported yet"
    yield f"Run {escaped(night.run.run_id)}, {begin} to {iso_utc(span.ended_at) or 'now'}"
    for each in night.timeline.breaks if night.timeline else ():
        yield from ("", f"Nobody at work: {words_on_break(each, iso_utc)}")
    yield from _causes(night.causes)
    yield from _table("By target", ["Target", *map(str, ENDED), "to do", "GiB", "throttled"], _targets(night))
    heads = ["Size", "rows", "succeeded", "failed", "GiB", "median time", "longest"]
    yield from _table("By size of the volume", heads, _sizes(night))
    if night.earlier:
        heads = ["Night", "rows", "succeeded", "failed", "GiB", "time", "GiB/h"]
        yield from _table("This night and those before it", heads, _nights(night))


def escaped(text: str) -> str:
    """The text on one line, with nothing in it that Markdown or HTML takes for its own."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """The text as code, inside a fence that is longer than any row of backticks in it."""
    flat = " ".join(text.split())
    longest = max(map(len, re.findall("`+", flat)), default=0)
    fence, gap = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{gap}{flat}{gap}{fence}"


def _causes(causes: Sequence[Cause]) -> Iterator[str]:
    if not causes:
        return
    yield from ("", "## What went wrong, and what to do")
    for cause in causes[:MOST_CAUSES]:
        answer = ", ".join(str(part) for part in (cause.status, cause.code) if part is not None)
        yield ""
        yield f"- **{count_of(cause.rows, 'row')} {cause.state}**: {escaped(cause.words)}" + (
            f" ({escaped(answer)})" if answer else ""
        )
        yield f"  - What to do: {escaped(cause.advice)}"
        for each in cause.examples:
            request = f", request {code(each.request_id)}" if each.request_id else ""
            yield f"  - line {each.line}, volume {code(each.volume_id)}{request}"
        if (left := cause.rows - len(cause.examples)) > 0:
            yield f"  - and {count_of(left, 'more row')}"
    if (left := len(causes) - MOST_CAUSES) > 0:
        yield from ("", f"And {count_of(left, 'more cause')}.")


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

"""The page: headline, what failed and what to do, the night in time, tables. Nothing in it runs or loads."""

from __future__ import annotations

from datetime import datetime, tzinfo
from importlib.resources import files

from batchexport import __version__
from batchexport.model import JobState
from batchexport.report.causes import Cause
from batchexport.report.html import charts, drawing
from batchexport.report.html.markup import Markup, single, tag
from batchexport.report.html.tables import (
    day_and_time,
    details,
    exports_table,
    nights_table,
    sizes_table,
    targets_table,
    trouble_table,
)
from batchexport.report.night import Night
from batchexport.report.timeline import Timeline
from batchexport.report.verdict import headline, title_of, verdict
from batchexport.report.words import count_of, duration, number

#: Causes that are shown; the table of rows holds more.
MOST_CAUSES = 20
#: The browser itself forbids what the page does not need.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def night_html(night: Night, *, zone: tzinfo | None = None) -> str:
    """The whole page. Times are those of `zone`; None = of this machine."""
    title = f"{title_of(night.run)}: exports of {day_and_time(night.run.created_at, zone)[:10]}"
    head = tag(
        "head",
        single("meta", charset="utf-8"),
        single("meta", name="viewport", content="width=device-width, initial-scale=1"),
        single("meta", http_equiv="Content-Security-Policy", content=POLICY),
        single("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(_style())),
    )
    parts = [
        _header(night, zone),
        tag("main", _headline(night), _causes(night), _course(night, zone), _tables(night, zone)),
        _footer(night, zone),
    ]
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", drawing.hatchings(), *parts), lang="en") + "\n"


def _style() -> str:
    return files("batchexport.report.html").joinpath("style.css").read_text(encoding="utf-8")


def _header(night: Night, zone: tzinfo | None) -> Markup:
    what = verdict(night)
    began_at, ended_at = night.figures.span.began_at, night.figures.span.ended_at
    when = [f"run {night.run.run_id}"]
    if began_at is not None:
        end = day_and_time(ended_at, zone) or "now"
        when.append(f"{day_and_time(began_at, zone)} to {end} {_zone_name(began_at, zone)}")
    return tag(
        "header",
        tag("p", "Export of volumes to images", class_="kicker"),
        tag("h1", title_of(night.run), " ", tag("span", what.words, class_=f"pill {what.class_}")),
        tag("p", " · ".join(when), class_="quiet"),
    )


def _headline(night: Night) -> Markup:
    totals = night.totals
    rows = totals.rows
    cards = [
        _card(number(rows[JobState.SUCCEEDED]), f"of {count_of(totals.all_rows, 'volume')} exported", "ok"),
        _card(number(rows[JobState.FAILED]), "failed", "bad" if rows[JobState.FAILED] else ""),
        _card(number(totals.gib[JobState.SUCCEEDED]), "GiB exported"),
        _card(_span(night.figures.took_s), "from first to last export"),
        _card(
            "–" if night.figures.gib_per_hour is None else number(night.figures.gib_per_hour), "GiB per hour"
        ),
        _card(_span(night.median_s), "median time of an export"),
    ]
    return tag(
        "section",
        tag("h2", "In short"),
        tag("p", headline(night), class_="lead"),
        tag("ul", *cards, class_="cards"),
        charts.proportions(totals),
        charts.proportions_legend(totals),
    )


def _card(figure: str, words: str, class_: str = "") -> Markup:
    return tag("li", tag("strong", figure, class_=class_ or None), tag("span", words))


def _causes(night: Night) -> Markup:
    if not night.causes:
        return Markup()
    shown = night.causes[:MOST_CAUSES]
    left = len(night.causes) - len(shown)
    more = tag("p", f"{count_of(left, 'more cause')}: see the rows below.") if left else Markup()
    title = tag("h2", "What went wrong, and what to do")
    every = details("Row by row", trouble_table(night))
    return tag("section", title, *(_cause(cause) for cause in shown), more, every)


def _cause(cause: Cause) -> Markup:
    answer = ", ".join(
        part for part in (f"HTTP {cause.status}" if cause.status else "", cause.code or "") if part
    )
    size = f", {number(cause.gib)} GiB" if cause.gib else ""
    examples = [
        tag(
            "li",
            f"line {number(each.line)}, volume ",
            tag("code", each.volume_id),
            *((", request ", tag("code", each.request_id)) if each.request_id else ()),
        )
        for each in cause.examples
    ]
    left = cause.rows - len(cause.examples)
    examples += [tag("li", f"and {count_of(left, 'more row')}")] if left else []
    return tag(
        "article",
        tag("h3", f"{count_of(cause.rows, 'row')} {cause.state}{size}"),
        tag("blockquote", cause.words, *((tag("cite", answer),) if answer else ())),
        tag("p", tag("strong", "What to do: "), cause.advice),
        tag("ul", *examples, class_="examples"),
        class_=f"cause {cause.state}",
    )


def _course(night: Night, zone: tzinfo | None) -> Markup:
    timeline = night.timeline
    if timeline is None:
        return tag("section", tag("h2", "The night"), tag("p", "The cloud has not taken any export yet."))
    step = duration(timeline.step_s)
    parts = [tag("h2", "The night"), charts.bars_legend(timeline)]
    if (held_up := charts.strips(timeline, zone)) is not None:
        parts.append(_figure("What held the run up", held_up))
    if timeline.bars:
        parts.append(_figure(_bars_caption(timeline), charts.bars(timeline, zone)))
        parts.append(details("These exports as a table", exports_table(timeline, zone)))
    for chart in charts.COLUMN_CHARTS:
        if chart.most(timeline):
            caption = f"{chart.title}, in steps of {step}"
            parts.append(_figure(caption, charts.columns(timeline, zone, chart)))
    return tag("section", *parts)


def _bars_caption(timeline: Timeline) -> str:
    shown = len(timeline.bars)
    if shown == timeline.exports:
        return "Every export, from its acceptance to its end"
    return (
        f"{shown} of {number(timeline.exports)} exports: the longest, and the longest that failed. "
        "The columns below count all of them"
    )


def _figure(caption: str, *content: Markup) -> Markup:
    return tag("figure", tag("figcaption", caption), *content)


def _tables(night: Night, zone: tzinfo | None) -> Markup:
    parts = [tag("h2", "Figures"), targets_table(night), sizes_table(night)]
    if night.earlier:
        parts.append(nights_table(night, zone))
    return tag("section", *parts)


def _footer(night: Night, zone: tzinfo | None) -> Markup:
    written = f"{day_and_time(night.written_at, zone)} {_zone_name(night.written_at, zone)}"
    return tag("footer", tag("p", f"Written {written} by batchexport {__version__} from its state file."))


def _zone_name(at: float, zone: tzinfo | None) -> str:
    return f"{datetime.fromtimestamp(at, zone).astimezone(zone):%Z}"


def _span(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)

"""The page: headline, what failed and what to do, the night in time, tables. Nothing in it runs or loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from importlib.resources import files

from batchexport import __version__
from batchexport.model import JobState
from batchexport.report.causes import Cause
from batchexport.report.context import Context
from batchexport.report.downtimes import server_text, span_text
from batchexport.report.html import charts, drawing
from batchexport.report.html.markup import Markup, single, tag
from batchexport.report.html.tables import (
    day_and_time,
    details,
    downtimes_table,
    exports_table,
    images_table,
    late_table,
    nights_table,
    sizes_table,
    targets_table,
    trouble_table,
)
from batchexport.report.night import Night
from batchexport.report.timeline import Timeline
from batchexport.report.verdict import headline, verdict
from batchexport.report.words import count_of, duration, number

#: Causes that are shown; the table of rows holds more.
MOST_CAUSES = 20
#: Servers that are down and named on top; the table of downtimes has all.
MOST_SERVERS = 20
#: The browser itself forbids what the page does not need.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def night_html(night: Night, *, zone: tzinfo | None = None) -> str:
    """The whole page. Times are those of `zone`; None = of this machine."""
    title = f"{night.title}: exports of {day_and_time(night.run.created_at, zone)[:10]}"
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
        tag(
            "main",
            _alarm(night, zone),
            _headline(night),
            _causes(night),
            _unfinished(night, zone),
            _downtimes(night, zone),
            _course(night, zone),
            _tables(night, zone),
            _images(night, zone),
        ),
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
        tag("h1", night.title, " ", tag("span", what.words, class_=f"pill {what.class_}")),
        tag("p", " · ".join(when), class_="quiet"),
        tag("dl", *(_fact(name, words) for name, words in night.context.facts), class_="facts"),
    )


def _fact(name: str, words: str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", words))


def _alarm(night: Night, zone: tzinfo | None) -> Markup:
    """Servers that are down, before and above all else."""
    if not night.servers:
        return Markup()
    down = [each for each in night.downtimes if not each.is_over]
    lines = [
        tag(
            "li",
            tag("strong", server_text(each)),
            ": ",
            span_text(each, now=night.written_at, clock=_clock(zone)),
        )
        for each in down[:MOST_SERVERS]
    ]
    left = len(down) - len(lines)
    lines += [tag("li", f"and {count_of(left, 'more server')}")] if left else []
    is_or_are = "server is" if len(night.servers) == 1 else "servers are"
    start = night.context.command("servers", " --start")
    return tag(
        "section",
        tag("h2", f"{number(len(night.servers))} {is_or_are} down"),
        tag("p", "Stopped for exports and not up again. ", *_when_up(night)),
        tag("ul", *lines),
        tag("p", "To start: ", tag("code", start)),
        class_="alarm",
        role="alert",
        id="down",
    )


def _when_up(night: Night) -> tuple[str, ...]:
    return ("The run that goes on starts them when their volumes are exported.",) if night.running else ()


def _clock(zone: tzinfo | None) -> Callable[[float | None], str]:
    return lambda at: day_and_time(at, zone)


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
        tag("h2", "In short", id="short"),
        tag("p", headline(night), class_="lead"),
        _contents(night),
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
    title = tag("h2", "What went wrong, and what to do", id="causes")
    every = details("Row by row", trouble_table(night), class_="print") if night.trouble else Markup()
    return tag("section", title, *(_cause(cause, night.context) for cause in shown), more, every)


def _contents(night: Night) -> Markup:
    """Links to the parts of the page that it has."""
    parts = [
        ("causes", "What went wrong", bool(night.causes)),
        ("late", "Not finished", bool(night.late or night.abandoned)),
        ("downtimes", "Servers stopped", bool(night.downtimes)),
        ("course", "The night", True),
        ("figures", "Figures", True),
        ("images", "Images made", bool(night.images)),
    ]
    links = [tag("a", words, href=f"#{name}") for name, words, is_there in parts if is_there]
    return tag("nav", *links, aria_label="On this page")


def _unfinished(night: Night, zone: tzinfo | None) -> Markup:
    """Exports past their deadline, and images of failed attempts that may be left."""
    if not night.late and not night.abandoned:
        return Markup()
    parts = [tag("h2", "Not finished", id="late")]
    if night.late:
        parts.append(late_table(night, zone))
    if night.abandoned:
        images = count_of(night.abandoned, "image")
        command = tag("code", night.context.command("cleanup"))
        parts.append(tag("p", f"{images} of attempts without success may be left in the cloud: ", command))
    return tag("section", *parts)


def _downtimes(night: Night, zone: tzinfo | None) -> Markup:
    if not night.downtimes:
        return Markup()
    title = tag("h2", "Servers stopped for exports", id="downtimes")
    return tag("section", title, downtimes_table(night, zone))


def _images(night: Night, zone: tzinfo | None) -> Markup:
    if not night.images:
        return Markup()
    title = tag("h2", "Images made", id="images")
    return tag(
        "section", title, details("Every image with its volume", images_table(night, zone)), class_="screen"
    )


def _line(state: JobState, line: int) -> Markup:
    """The line of a row, linked to the row where the table of those without an image has it."""
    words = f"line {number(line)}"
    return tag("span", words) if state is JobState.SUCCEEDED else tag("a", words, href=f"#line-{line}")


def _cause(cause: Cause, context: Context) -> Markup:
    answer = ", ".join(
        part for part in (f"HTTP {cause.status}" if cause.status else "", cause.code or "") if part
    )
    size = f", {number(cause.gib)} GiB" if cause.gib else ""
    examples = [
        tag(
            "li",
            _line(cause.state, each.line),
            f", volume {each.volume_name} " if each.volume_name else ", volume ",
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
        tag("p", tag("strong", "What to do: "), *_advice(cause.advice, context)),
        tag("ul", *examples, class_="examples"),
        class_=f"cause {cause.state}",
    )


def _advice(advice: str, context: Context) -> Iterator[str]:
    """The advice, its commands as they can be copied."""
    for text, is_command in context.advised(advice):
        yield tag("code", text) if is_command else text


def _course(night: Night, zone: tzinfo | None) -> Markup:
    timeline = night.timeline
    if timeline is None:
        return tag(
            "section",
            tag("h2", "The night", id="course"),
            tag("p", "The cloud has not taken any export yet."),
        )
    step = duration(timeline.step_s)
    parts = [tag("h2", "The night", id="course"), charts.bars_legend(timeline)]
    if (held_up := charts.strips(timeline, zone)) is not None:
        parts.append(_figure("What held the run up", held_up))
    if timeline.bars:
        parts.append(_figure(_bars_caption(timeline), charts.bars(timeline, zone), class_="tall"))
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


def _figure(caption: str, *content: Markup, class_: str | None = None) -> Markup:
    return tag("figure", tag("figcaption", caption), *content, class_=class_)


def _tables(night: Night, zone: tzinfo | None) -> Markup:
    parts = [tag("h2", "Figures", id="figures"), targets_table(night), sizes_table(night)]
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

"""The page: headline, failures and what to do, timeline, tables. Only a live page runs a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from importlib.resources import files

from batchexport.model import JobState
from batchexport.report.causes import Cause
from batchexport.report.context import Context
from batchexport.report.html import charts, svg
from batchexport.report.html.markup import Markup, single, tag
from batchexport.report.html.tables import (
    day_and_time,
    deliveries_table,
    destinations_table,
    details,
    downtimes_table,
    exports_table,
    images_links,
    images_table,
    late_table,
    runs_table,
    sizes_table,
    targets_table,
    unsuccessful_table,
)
from batchexport.report.resources import cloud_id_of, copies_line, kind_text
from batchexport.report.run_report import RunReport, comparison, headline, verdict
from batchexport.report.servers import server_text, servers_line, span_text, volumes_text
from batchexport.report.text import count_of, duration, number, one_line
from batchexport.report.timeline import Timeline
from batchexport.version import __version__

#: Causes shown; the table of rows has more.
MAX_CAUSES = 20
#: Servers named on top while they are down; the table of downtimes has all.
MAX_SERVERS = 20
#: Makes the browser block everything that the page does not need.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
#: The script of a live page: it asks for the page again, and shows what is new.
_LIVE_SCRIPT = files("batchexport.report.html").joinpath("live.js").read_text(encoding="utf-8")
_LIVE_HASH = base64.b64encode(hashlib.sha256(_LIVE_SCRIPT.encode()).digest()).decode()
LIVE_POLICY = f"{POLICY}; script-src 'sha256-{_LIVE_HASH}'; connect-src 'self'"


def html_report(report: RunReport, *, zone: tzinfo | None = None, live_every_s: float | None = None) -> str:
    """The whole page. Times are in `zone`; None = that of this machine.

    A live page asks for itself again every `live_every_s` seconds; None = nothing in it runs or loads.
    """
    down = f"{count_of(len(report.servers), 'server')} down – " if report.servers else ""
    title = f"{down}{report.title}: exports of {day_and_time(report.run.created_at, zone)[:10]}"
    head = tag(
        "head",
        single("meta", charset="utf-8"),
        single("meta", name="viewport", content="width=device-width, initial-scale=1"),
        single("meta", http_equiv="Content-Security-Policy", content=LIVE_POLICY if live_every_s else POLICY),
        single("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(_style())),
    )
    parts = [
        _header(report, zone),
        tag(
            "main",
            _alarm(report, zone),
            _copies(report),
            _headline(report, zone),
            _actions(report),
            _causes(report),
            _unfinished(report, zone),
            _deliveries(report),
            _downtimes(report, zone),
            _course(report, zone),
            _tables(report, zone),
            _images(report, zone),
        ),
        _footer(report, zone),
    ]
    if live_every_s:
        parts.append(tag("script", Markup(_LIVE_SCRIPT), data_every_ms=round(1000 * live_every_s)))
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", svg.patterns(), *parts), lang="en") + "\n"


def _style() -> str:
    return files("batchexport.report.html").joinpath("style.css").read_text(encoding="utf-8")


def _header(report: RunReport, zone: tzinfo | None) -> Markup:
    what = verdict(report)
    began_at, ended_at = report.figures.span.began_at, report.figures.span.ended_at
    when = [f"run {report.run.run_id}"]
    if began_at is not None:
        end = day_and_time(ended_at, zone) or "now"
        when.append(f"{day_and_time(began_at, zone)} to {end} {_zone_name(began_at, zone)}")
    return tag(
        "header",
        tag("p", "Export of volumes to images", class_="kicker"),
        tag("h1", report.title, " ", tag("span", what.words, class_=f"pill {what.class_}")),
        tag("p", " · ".join(when), class_="quiet"),
        tag("dl", *(_fact(name, words) for name, words in report.context.facts), class_="facts"),
    )


def _fact(name: str, words: str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", words))


def _alarm(report: RunReport, zone: tzinfo | None) -> Markup:
    """Servers that are down, above everything else."""
    if not report.servers:
        return Markup()
    down = [each for each in report.downtimes if not each.is_over]
    lines = [
        tag(
            "li",
            tag("strong", server_text(each)),
            ": ",
            span_text(each, now=report.written_at, clock=_clock(zone)),
            f", for {volumes_text(each.volume_ids, report.names)}",
        )
        for each in down[:MAX_SERVERS]
    ]
    left = len(down) - len(lines)
    lines += [tag("li", f"and {count_of(left, 'more server')}")] if left else []
    is_or_are = "server is" if len(report.servers) == 1 else "servers are"
    start = report.context.command("servers", " --start")
    return tag(
        "section",
        tag("h2", f"{number(len(report.servers))} {is_or_are} down"),
        tag("p", f"{servers_line(report.servers)}. ", *_when_up(report)),
        tag("ul", *lines),
        tag("p", "To start: ", tag("code", start)),
        class_="alarm",
        role="alert",
        id="down",
    )


def _copies(report: RunReport) -> Markup:
    """Snapshots and temporary volumes that are not deleted, above all but servers."""
    if not report.copies or report.running:
        return Markup()
    lines = [
        tag(
            "li",
            tag("strong", f"{kind_text(each)} {each.name or each.resource_id}"),
            f" ({cloud_id_of(each) or 'id unknown'}): {one_line(each.note or each.state, 200)}",
        )
        for each in report.copies[:MAX_SERVERS]
    ]
    left = len(report.copies) - len(lines)
    lines += [tag("li", f"and {number(left)} more")] if left else []
    release = report.context.command("resources", " --release")
    return tag(
        "section",
        tag("h2", "Snapshots and temporary volumes not deleted"),
        tag("p", f"{copies_line(report.copies)}."),
        tag("ul", *lines),
        tag("p", "To delete: ", tag("code", release)),
        class_="alarm",
        role="alert",
        id="copies",
    )


def _when_up(report: RunReport) -> tuple[str, ...]:
    return ("The running process starts them once their volumes are exported.",) if report.running else ()


def _clock(zone: tzinfo | None) -> Callable[[float | None], str]:
    return lambda at: day_and_time(at, zone)


def _headline(report: RunReport, zone: tzinfo | None) -> Markup:
    totals = report.totals
    rows = totals.rows
    cards = [
        _card(number(rows[JobState.SUCCEEDED]), f"of {count_of(totals.all_rows, 'volume')} exported", "ok"),
        _card(number(rows[JobState.FAILED]), "failed", "bad" if rows[JobState.FAILED] else ""),
        _card(number(totals.gib[JobState.SUCCEEDED]), "GiB exported"),
        _card(_span(report.figures.took_s), "from first to last export"),
        _card(
            "–" if report.figures.gib_per_hour is None else number(report.figures.gib_per_hour),
            "GiB per hour",
        ),
        _card(_span(report.median_s), "median time of an export"),
    ]
    return tag(
        "section",
        tag("h2", "In short", id="short"),
        tag("p", headline(report), class_="lead"),
        *_comparison(report, zone),
        _contents(report),
        tag("ul", *cards, class_="cards"),
        charts.proportions(totals),
        charts.proportions_legend(totals),
    )


def _comparison(report: RunReport, zone: tzinfo | None) -> Iterator[Markup]:
    if before := comparison(report, _clock(zone)):
        yield tag("p", before, class_="quiet")


def _card(figure: str, words: str, class_: str = "") -> Markup:
    return tag("li", tag("strong", figure, class_=class_ or None), tag("span", words))


def _actions(report: RunReport) -> Markup:
    """What is left to do, by whom, with commands to copy."""
    if not report.actions:
        return Markup()
    items = [
        tag(
            "li",
            tag("p", tag("strong", f"{each.who.capitalize()}: "), f"{each.why}."),
            tag("pre", "\n".join(each.commands)),
        )
        for each in report.actions
    ]
    return tag("section", tag("h2", "To do", id="todo"), tag("ol", *items, class_="actions"))


def _causes(report: RunReport) -> Markup:
    if not report.causes:
        return Markup()
    shown = report.causes[:MAX_CAUSES]
    left = len(report.causes) - len(shown)
    more = tag("p", f"{count_of(left, 'more cause')}: see the rows below.") if left else Markup()
    title = tag("h2", "What went wrong, and what to do", id="causes")
    every = details("Row by row", unsuccessful_table(report)) if report.unsuccessful else Markup()
    return tag("section", title, *(_cause(cause, report.context) for cause in shown), more, every)


def _contents(report: RunReport) -> Markup:
    """Links to the sections that this page has."""
    parts = [
        ("todo", "To do", bool(report.actions)),
        ("causes", "What went wrong", bool(report.causes)),
        ("late", "Not finished", bool(report.late or report.unfinished_images)),
        ("downtimes", "Servers stopped", bool(report.downtimes)),
        ("course", "Timeline", True),
        ("figures", "Figures", True),
        ("images", "Images made", bool(report.images)),
    ]
    links = [tag("a", words, href=f"#{name}") for name, words, is_there in parts if is_there]
    return tag("nav", *links, aria_label="On this page")


def _unfinished(report: RunReport, zone: tzinfo | None) -> Markup:
    """Exports past their deadline, and images of failed attempts that may be left."""
    if not report.late and not report.unfinished_images:
        return Markup()
    parts = [tag("h2", "Not finished", id="late")]
    if report.late:
        parts.append(late_table(report, zone))
    if report.unfinished_images:
        images = count_of(report.unfinished_images, "image")
        command = tag("code", report.context.command("cleanup"))
        parts.append(tag("p", f"{images} of failed attempts may be left in the cloud: ", command))
    return tag("section", *parts)


def _downtimes(report: RunReport, zone: tzinfo | None) -> Markup:
    if not report.downtimes:
        return Markup()
    title = tag("h2", "Servers stopped for exports", id="downtimes")
    return tag("section", title, downtimes_table(report, zone))


def _images(report: RunReport, zone: tzinfo | None) -> Markup:
    if not report.images:
        return Markup()
    title = tag("h2", "Images made", id="images")
    return tag(
        "section",
        title,
        images_links(report),
        details("Every image with its volume", images_table(report, zone)),
    )


def _line(state: JobState, line: int) -> Markup:
    """The line of a row, linked to the table of rows without an image."""
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
        tag("p", tag("strong", f"What to do ({cause.who}): "), *_advice(cause, context)),
        tag("ul", *examples, class_="examples"),
        class_=f"cause {cause.state}",
    )


def _advice(cause: Cause, context: Context) -> Iterator[str]:
    """The advice, with its commands to copy."""
    for text, is_command in context.advised(cause.advice, [each.volume_id for each in cause.examples]):
        yield tag("code", text) if is_command else text


def _deliveries(report: RunReport) -> Markup:
    if not report.deliveries.by_job:
        return Markup()
    return tag(
        "section",
        tag("h2", "Deliveries", id="deliveries"),
        destinations_table(report),
        details("Every delivery with what verified it", deliveries_table(report)),
    )


def _course(report: RunReport, zone: tzinfo | None) -> Markup:
    timeline = report.timeline
    if timeline is None:
        return tag(
            "section",
            tag("h2", "Timeline", id="course"),
            tag("p", "The cloud has not accepted an export yet."),
        )
    step = duration(timeline.step_s)
    parts = [tag("h2", "Timeline", id="course"), charts.bars_legend(timeline)]
    if (held_up := charts.strips(timeline, zone)) is not None:
        parts.append(_figure("What held up the run", held_up))
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
        f"{shown} of {number(timeline.exports)} exports, repeated ones included: the longest, and the longest"
        " that failed. The columns below count all of them"
    )


def _figure(caption: str, *content: Markup, class_: str | None = None) -> Markup:
    return tag("figure", tag("figcaption", caption), *content, class_=class_)


def _tables(report: RunReport, zone: tzinfo | None) -> Markup:
    parts = [tag("h2", "Figures", id="figures"), targets_table(report), sizes_table(report)]
    if report.earlier:
        parts.append(runs_table(report, zone))
    return tag("section", *parts)


def _footer(report: RunReport, zone: tzinfo | None) -> Markup:
    written = f"{day_and_time(report.written_at, zone)} {_zone_name(report.written_at, zone)}"
    return tag("footer", tag("p", f"Written {written} by batchexport {__version__} from its state file."))


def _zone_name(at: float, zone: tzinfo | None) -> str:
    return f"{datetime.fromtimestamp(at, zone).astimezone(zone):%Z}"


def _span(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)

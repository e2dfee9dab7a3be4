"""The charts of the page. Their descriptions and the tables say the same in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import NamedTuple

import msgspec

from batchexport.report.html import svg
from batchexport.report.html.markup import Markup
from batchexport.report.html.svg import AxisMark, axis_top, time_marks
from batchexport.report.text import count_of, duration, number, truncate_middle
from batchexport.report.timeline import Bar, BarKind, Mark, Step, Timeline, gap_text
from batchexport.report.totals import ENDED, Totals

#: Heights in pixels: a row of bars, columns, a strip with its gap. style.css has them, too.
ROW, COLUMNS, STRIP = 15, 120, 16
_CLASS_OF_KIND = {
    BarKind.SUCCEEDED: "ok",
    BarKind.FAILED: "bad",
    BarKind.TRIED_AGAIN: "again",
    BarKind.UNDER_WAY: "going",
}
_CLASS_OF_MARK = {Mark.THROTTLED: "throttled", Mark.NO_SERVICE: "silent", Mark.STOPPED: "stopped"}
_WORDS_OF_MARK = {
    Mark.THROTTLED: "throttled: the cloud asked for fewer requests",
    Mark.NO_SERVICE: "no service: the cloud accepted no requests",
    Mark.STOPPED: "stopped: credentials, permissions or quota",
}


class ColumnChart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart with a column for each step of time."""

    title: str
    unit: str
    class_: str
    amount: Callable[[Step], float]

    def most(self, timeline: Timeline) -> float:
        """The largest amount of any step."""
        return max(self.amount(step) for step in timeline.steps)


class Piece(NamedTuple):
    """One piece of a strip; its place and width are shares of the whole."""

    left: float
    width: float
    class_: str
    words: str


COLUMN_CHARTS = (
    ColumnChart(title="GiB exported", unit="GiB", class_="column", amount=lambda step: step.gib),
    ColumnChart(
        title="Exports under way", unit="exports", class_="column-2", amount=lambda step: step.under_way
    ),
    ColumnChart(title="Rows failed", unit="rows", class_="bad", amount=lambda step: step.failed),
)


def proportions(totals: Totals) -> Markup:
    """One bar of all rows, divided by state."""
    amounts = [(str(state), totals.rows[state]) for state in ENDED] + [("to do", totals.to_do)]
    left, parts = 0.0, []
    for name, amount in amounts:
        if amount:
            share, words = amount / totals.all_rows, f"{number(amount)} {name}"
            parts.append(svg.bar(left, share, 0, 18, fill_of(name), words))
            left += share
    said = ", ".join(f"{number(amount)} {name}" for name, amount in amounts if amount)
    return svg.image(18, parts, words=f"Rows by what became of them: {said}", class_="proportions")


def proportions_legend(totals: Totals) -> Markup:
    """The legend of that bar."""
    kinds = [
        (fill_of(state), f"{number(totals.rows[state])} {state}") for state in ENDED if totals.rows[state]
    ]
    kinds += [(fill_of("to do"), f"{number(totals.to_do)} to do")] if totals.to_do else []
    return svg.legend(kinds)


def fill_of(state: str) -> str:
    """The CSS class with the colour of a state."""
    return f"fill-{state.replace(' ', '-')}"


def bars(timeline: Timeline, zone: tzinfo | None) -> Markup:
    """The exports, each a bar from its acceptance to its end."""
    height, marks = len(timeline.bars) * ROW, _time_marks(timeline, zone)
    parts = [svg.vline(mark.share, height) for mark in marks]
    span_s = timeline.ended_at - timeline.began_at
    for place, bar in enumerate(timeline.bars):
        left, width = (bar.began_at - timeline.began_at) / span_s, bar.took_s / span_s
        class_ = _CLASS_OF_KIND[bar.kind]
        parts.append(svg.bar(left, width, place * ROW + 2, ROW - 4, class_, _bar_words(bar, zone)))
    parts += [svg.under_axis(mark, height) for mark in marks]
    words = f"{len(timeline.bars)} exports in time; the table below says the same"
    names = [_bar_name(bar) for bar in timeline.bars]
    return svg.with_labels(names, svg.image(height + svg.AXIS, parts, words=words), "bars")


def strips(timeline: Timeline, zone: tzinfo | None) -> Markup | None:
    """What held up the run and when, a strip for each kind; None if nothing did."""
    kinds = [mark for mark in Mark if timeline.marks[mark]]
    named = [(f"{kind} {number(timeline.marks[kind])}", _marks_of(timeline, kind, zone)) for kind in kinds]
    if timeline.gaps:
        named.append((f"idle {number(len(timeline.gaps))}", _gap_pieces(timeline, zone)))
    if not named:
        return None
    parts = [svg.hline(place * STRIP + 12) for place in range(len(named))]
    for place, (_, pieces) in enumerate(named):
        parts += [
            svg.bar(each.left, each.width, place * STRIP, 12, each.class_, each.words) for each in pieces
        ]
    said = [f"{kind} {count_of(timeline.marks[kind], 'time')}" for kind in kinds]
    said += [gap_text(each, lambda at: _clock(at, zone)) for each in timeline.gaps]
    image = svg.image(len(named) * STRIP, parts, words=", ".join(said))
    return svg.with_labels([name for name, _ in named], image, "strips")


def _marks_of(timeline: Timeline, kind: Mark, zone: tzinfo | None) -> list[Piece]:
    return [
        Piece(
            *_place(timeline, step),
            _CLASS_OF_MARK[kind],
            f"{_clock(step.began_at, zone)}: {kind} {count_of(count, 'time')}",
        )
        for step in timeline.steps
        if (count := step.marks[kind])
    ]


def _gap_pieces(timeline: Timeline, zone: tzinfo | None) -> list[Piece]:
    pieces = []
    for each in timeline.gaps:
        left = min(1.0, max(0.0, _share(timeline, each.stopped_at)))
        right = 1.0 if each.resumed_at is None else min(1.0, _share(timeline, each.resumed_at))
        pieces.append(Piece(left, right - left, "away", gap_text(each, lambda at: _clock(at, zone))))
    return pieces


def columns(timeline: Timeline, zone: tzinfo | None, chart: ColumnChart) -> Markup:
    """A column for each step of time."""
    most, marks = chart.most(timeline), _time_marks(timeline, zone)
    top = axis_top(most)
    parts = [svg.vline(mark.share, COLUMNS) for mark in marks]
    parts += [svg.hline(1), svg.hline(COLUMNS / 2)]
    for step in timeline.steps:
        if value := chart.amount(step):
            tall = max(1.0, COLUMNS * value / top)
            words = f"{_clock(step.began_at, zone)}: {_short(value)} {chart.unit}"
            left, width = _place(timeline, step)
            parts.append(svg.bar(left, width * 0.86, COLUMNS - tall, tall, chart.class_, words))
    parts.append(svg.hline(COLUMNS, "ground"))
    parts += [svg.under_axis(mark, COLUMNS) for mark in marks]
    words = f"{chart.title}: at most {_short(most)} {chart.unit} in {duration(timeline.step_s)}"
    image = svg.image(COLUMNS + svg.AXIS, parts, words=words)
    return svg.with_labels([_short(top), _short(top / 2), "0"], image, "levels")


def bars_legend(timeline: Timeline) -> Markup:
    """The legend of the bars and strips that are shown."""
    found = {bar.kind for bar in timeline.bars}
    kinds = [(_CLASS_OF_KIND[kind], str(kind)) for kind in BarKind if kind in found]
    marks = [(_CLASS_OF_MARK[mark], _WORDS_OF_MARK[mark]) for mark in Mark if timeline.marks[mark]]
    away = [("away", "idle: no process worked on the run")] if timeline.gaps else []
    return svg.legend([*kinds, *marks, *away])


def _bar_name(bar: Bar) -> str:
    name = truncate_middle(bar.volume_name, 14) if bar.volume_name else bar.volume_id[:8]
    return f"{name} {'' if bar.size_gib is None else number(bar.size_gib)}"


def _bar_words(bar: Bar, zone: tzinfo | None) -> str:
    size = "" if bar.size_gib is None else f", {number(bar.size_gib)} GiB"
    begin, end = _clock(bar.began_at, zone), _clock(bar.ended_at, zone)
    name = f"{bar.volume_name}, " if bar.volume_name else ""
    return f"{name}{bar.volume_id}{size}: {bar.kind}, {begin} to {end} ({duration(bar.took_s)}). {bar.words}"


def _time_marks(timeline: Timeline, zone: tzinfo | None) -> list[AxisMark]:
    return time_marks(timeline.began_at, timeline.ended_at, zone)


def _place(timeline: Timeline, step: Step) -> tuple[float, float]:
    left = _share(timeline, step.began_at)
    return left, min(timeline.step_s / (timeline.ended_at - timeline.began_at), 1 - left)


def _share(timeline: Timeline, at: float) -> float:
    """The position of a time on the timeline, from 0 to 1."""
    return (at - timeline.began_at) / (timeline.ended_at - timeline.began_at)


def _clock(at: float, zone: tzinfo | None) -> str:
    return f"{datetime.fromtimestamp(at, zone):%H:%M:%S}"


def _short(value: float) -> str:
    return number(value) if value >= 100 or value == int(value) else f"{value:.3g}"

"""SVG elements of the charts: widths are shares of the page, heights and texts in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

import msgspec

from batchexport.report.html.markup import Markup, joined, percent, tag

#: Height of an axis with its labels.
AXIS = 20
#: The thinnest visible bar, as a share of the width.
MIN_WIDTH = 0.003


def image(height: float, parts: Sequence[Markup], *, words: str, class_: str = "chart") -> Markup:
    """An image as wide as the page, with `words` as its text alternative."""
    return tag("svg", joined(parts), class_=class_, height=height, role="img", aria_label=words)


def with_labels(names: Sequence[str], chart: Markup, class_: str) -> Markup:
    """The chart with labels on its left, hidden from screen readers: its text alternative has them."""
    column = tag("div", *(tag("span", name) for name in names), class_=f"names {class_}", aria_hidden="true")
    return tag("div", column, chart, class_="beside")


def bar(left: float, width: float, top: float, height: float, class_: str, words: str) -> Markup:
    """A bar, never too thin to be visible; `words` are its tooltip."""
    width = max(MIN_WIDTH, width)
    return tag(
        "rect",
        tag("title", words),
        class_=class_,
        x=percent(max(0.0, min(left, 1 - width))),
        y=f"{top:.4g}",
        width=percent(width),
        height=f"{height:.4g}",
    )


def vline(at: float, height: float) -> Markup:
    """A thin vertical line."""
    return tag("line", class_="grid", x1=percent(at), x2=percent(at), y1="0", y2=height)


def hline(at: float, class_: str = "grid") -> Markup:
    """A thin horizontal line."""
    return tag("line", class_=class_, x1="0", x2="100%", y1=f"{at:g}", y2=f"{at:g}")


def under_axis(mark: AxisMark, height: float) -> Markup:
    """The label of a mark, below it; at the ends it stays inside."""
    anchor = "start" if mark.share < 0.04 else "end" if mark.share > 0.96 else "middle"
    return tag("text", mark.words, x=percent(mark.share), y=height + 14, text_anchor=anchor)


def share_bar(share: float) -> Markup:
    """A small bar for a table cell, beside the number that it shows."""
    rect = tag("rect", class_="share", width=percent(min(1.0, share)), height="8", rx="2")
    return tag("svg", rect, class_="share-bar", height="8", aria_hidden="true", focusable="false")


def legend(kinds: Sequence[tuple[str, str]]) -> Markup:
    """What the colours mean, from (CSS class, words)."""
    return tag("p", *(tag("span", _swatch(class_), words) for class_, words in kinds), class_="legend")


def patterns() -> Markup:
    """The patterns that tell kinds apart without colours; once on a page."""
    patterns = [
        tag(
            "pattern",
            tag("rect", width="3", height="6", class_=f"hatch-{name}"),
            id=f"hatch-{name}",
            width="6",
            height="6",
            patternUnits="userSpaceOnUse",
            patternTransform=f"rotate({angle})",
        )
        for name, angle in (("bad", 45), ("again", -45))
    ]
    return tag("svg", tag("defs", *patterns), width="0", height="0", class_="unseen", aria_hidden="true")


def _swatch(class_: str) -> Markup:
    box = tag("rect", class_=class_, width="14", height="10", y="1", rx="1")
    return tag("svg", box, width="14", height="12", aria_hidden="true", focusable="false")


#: More time marks than these overlap on a phone.
MAX_TIME_MARKS = 5
_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


class AxisMark(msgspec.Struct, frozen=True):
    """One mark: its position on the axis (0 to 1) and its label."""

    share: float
    words: str


def time_marks(began_at: float, ended_at: float, zone: tzinfo | None) -> list[AxisMark]:
    """Marks at round times in `zone` (None = that of this machine)."""
    span_s = ended_at - began_at
    width_s = next((width for width in _WIDTHS_S if span_s / width <= MAX_TIME_MARKS), None)
    if width_s is None:
        width_s = math.ceil(span_s / MAX_TIME_MARKS / 86400) * 86400
    form = "%d %b" if width_s >= 86400 else "%H:%M" if width_s >= 60 else "%H:%M:%S"
    begin = datetime.fromtimestamp(began_at, zone).astimezone(zone)
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    round_s = min(width_s, 86400)
    steps = math.ceil((begin - midnight).total_seconds() / round_s)
    first_at = (midnight + timedelta(seconds=steps * round_s)).timestamp()
    count = max(0, int((ended_at - first_at) // width_s) + 1)
    return [
        AxisMark((at - began_at) / span_s, f"{datetime.fromtimestamp(at, zone):{form}}")
        for at in (first_at + place * width_s for place in range(count))
    ]


def axis_top(most: float) -> float:
    """The end of the axis: a round amount not below `most`."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(
        power * step for step in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10) if power * step >= most * 0.999999
    )

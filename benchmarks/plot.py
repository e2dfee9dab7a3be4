"""A chart of how cost grows, as SVG: readable in light and dark, without a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from growth import Point

WIDTH, HEIGHT, LEFT, TOP = 360, 200, 46, 34
STYLE = (
    "text{font:12px sans-serif;fill:#333}.axis{stroke:#999;fill:none}"
    ".line{fill:none;stroke-width:2;stroke:#1667b0}.dot{fill:#1667b0}@media(prefers-color-scheme:dark){text{fill:#ddd}.line{stroke:#6cb4f5}.dot{fill:#6cb4f5}}"
)


def chart(points: Sequence[Point]) -> str:
    """CPU per row and peak memory, each over the number of rows."""
    parts = [
        _panel(points, 0, "CPU per row, µs (start taken off)", lambda point: point.cpu_us_per_row),
        _panel(points, WIDTH + 60, "peak memory, MiB", lambda point: point.peak_mib),
    ]
    size = f"{2 * WIDTH + 160} {HEIGHT + 80}"
    title = "<title>How the cost of a run grows with the length of its list</title>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">{title}'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _panel(points: Sequence[Point], left: int, title: str, value: Callable[[Point], float]) -> str:
    most = 1.25 * max(map(value, points))
    step = WIDTH / max(1, len(points) - 1)
    places = [
        (left + LEFT + index * step * 0.94, TOP + HEIGHT * (1 - value(point) / most))
        for index, point in enumerate(points)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    base = TOP + HEIGHT
    marks = [
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{value(point):.0f}</text>'
        f'<text x="{x:.1f}" y="{base + 20}" text-anchor="middle">{point.rows:,}</text>'
        for (x, y), point in zip(places, points, strict=True)
    ]
    axis = f'<path class="axis" d="M{left + 20} {TOP}V{base}H{left + LEFT + WIDTH}"/>'
    caption = f'<text x="{left + 20}" y="18">{title}</text>'
    rows = f'<text x="{left + LEFT + WIDTH / 2:.0f}" y="{base + 38}" text-anchor="middle">rows</text>'
    return f'{caption}{axis}<polyline class="line" points="{line}"/>{"".join(marks)}{rows}'

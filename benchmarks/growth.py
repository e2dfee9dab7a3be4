"""How the cost of a whole run grows with its list."""

from __future__ import annotations

from dataclasses import dataclass

from measured import Cost, Target, target
from scenarios import Bench, export_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A run over so many rows."""

    rows: int
    cpu_us_per_row: float  #: with what starting costs taken off
    peak_mib: float


def growth(bench: Bench) -> list[Point]:
    """Runs over 1,000 rows, and over ten times as many until the longest list is done."""
    points = []
    with target() as cloud:
        starting_s = min(_cost(bench, cloud, 1).cpu_s for _ in range(3))
        rows = 1000
        while rows <= bench.longest:
            cost = _cost(bench, cloud, rows)
            per_row = (cost.cpu_s - starting_s) / rows * 1e6
            points.append(Point(rows=rows, cpu_us_per_row=per_row, peak_mib=cost.peak_mib))
            rows *= 10
    return points


def _cost(bench: Bench, cloud: Target, rows: int) -> Cost:
    cloud.set(volumes=rows)
    return export_all(bench, cloud, rows, "--poll-interval", "1")

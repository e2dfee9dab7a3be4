"""Every figure of docs/performance.md, by one command: `python benchmarks/run.py`.

Takes some five minutes with lists of up to 100,000 rows, and seven with `--longest 1000000`. Needs the
package installed with its extra `fast`, and an otherwise idle machine with two cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from growth import Point, growth
from plot import chart
from scenarios import SCENARIOS, Bench, Figure

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures: python benchmarks/run.py --write -->", "<!-- end of figures -->"


def main() -> int:
    """The exit code: how many goals were missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that whatever varies is measured (5)")
    parser.add_argument("--longest", type=int, default=100_000, help="rows of the longest list (100,000)")
    parser.add_argument("--only", choices=[*(each.__name__ for each in SCENARIOS), "growth"])
    parser.add_argument("--write", action="store_true", help="put figures and chart into docs/")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        bench = Bench(folder=Path(folder), rounds=asked.rounds, longest=asked.longest)
        figures: list[Figure] = []
        for scenario in SCENARIOS:
            if asked.only in (None, scenario.__name__):
                figures += scenario(bench)
                print(f"{scenario.__name__} measured", flush=True)
        points = growth(bench) if asked.only in (None, "growth") else []
    text = "\n".join([_machine(), "", *_table(figures), "", *_growth_table(points)])
    print(text)
    if asked.write:
        _write(text, points)
    return sum(figure.is_met is False for figure in figures)


def _machine() -> str:
    now = datetime.now(UTC)
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop"))
    load = os.getloadavg()[1]
    return (
        f"{now:%Y-%m-%d}, {os.cpu_count()} cores of {_processor()}, {platform.system()},"
        f" Python {platform.python_version()}, {packages}, load {load:.1f}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _table(figures: Sequence[Figure]) -> list[str]:
    lines = ["| what | measured | goal | |", "|---|---|---|---|"] if figures else []
    for figure in figures:
        goal = "" if figure.at_most is None else f"≤ {figure.at_most:g}"
        goal = goal if figure.at_least is None else f"≥ {figure.at_least:g}"
        met = {True: "met", False: "**missed**", None: ""}[figure.is_met]
        lines.append(f"| {figure.name} | {figure.value:.4g} | {goal} | {met} |")
    return lines


def _growth_table(points: Sequence[Point]) -> list[str]:
    lines = ["| rows | CPU per row, µs | peak memory, MiB |", "|---|---|---|"] if points else []
    return lines + [f"| {each.rows:,} | {each.cpu_us_per_row:.0f} | {each.peak_mib:.0f} |" for each in points]


def _write(text: str, points: Sequence[Point]) -> None:
    page = DOCS / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    if points:
        (DOCS / "performance.svg").write_text(chart(points))


if __name__ == "__main__":
    raise SystemExit(main())

"""How long a night takes, over the shortest night possible: `python benchmarks/makespan.py`, some minutes.

The engine and the real client against the sandbox, on virtual time: hours pass in seconds, whatever the
machine does, so the figures are the same on any. Needs the package installed with its extra `test`. The lower
bound is the larger of all exports' time divided by what may run at once, and of the longest one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import cast

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from batchexport import engine
from batchexport.config import Limits, Settings
from batchexport.model import NO_OPTIONS, ExportOrder, JobRow, TargetKey
from batchexport.sandbox import SandboxVolume
from batchexport.store import RunRecord, stores
from tests.engine.fast_time import fast_now, run_fast
from tests.engine.full_stack import Stack, now

#: GiB and how many of a hundred volumes have it: many small system disks, few large data disks.
SIZES = ((10, 12), (20, 14), (40, 22), (50, 10), (100, 18), (200, 10), (500, 8), (1000, 4), (2000, 2))
SECONDS_BASE, SECONDS_PER_GIB = 20.0, 1.8
SLOTS = 40


def volumes_of(count: int, seed: int) -> list[SandboxVolume]:
    """Volumes of sizes as people have them, in no order."""
    dice = random.Random(seed)
    sizes, weights = zip(*SIZES, strict=True)
    return [
        SandboxVolume(
            volume_id=f"00000000-0000-4000-8000-{number:012d}",
            name=f"volume-{number}",
            size_gib=dice.choices(sizes, weights)[0],
        )
        for number in range(count)
    ]


def lower_bound_s(volumes: Sequence[SandboxVolume]) -> float:
    """Seconds below which no order can come."""
    spans = [SECONDS_BASE + SECONDS_PER_GIB * volume.size_gib for volume in volumes]
    return max(sum(spans) / SLOTS, *spans)


def makespan_s(volumes: Sequence[SandboxVolume], order: ExportOrder) -> float:
    """Seconds from the start of a run to its end."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        stack = Stack(
            folder,
            patch,
            volumes=volumes,
            synthetic_volumes=False,
            seconds_base=SECONDS_BASE,
            seconds_per_gib=SECONDS_PER_GIB,
            token_life_s=86_400.0,
        )
        path = folder / "a.state"
        _make(path, volumes)
        settings = Settings(order=order, limits=Limits(max_exports=SLOTS, requests_per_second=0.0))
        began = fast_now()
        run_fast(_run(path, stack, settings))
        return fast_now() - began


def _make(path: Path, volumes: Sequence[SandboxVolume]) -> None:
    record = RunRecord(
        run_id="20270101-abcdef",
        created_at=now(),
        list_name="volumes.csv",
        list_sha256="",
        rows=len(volumes),
        settings="{}",
        version="0",
    )
    with stores.create(path) as build:
        for line, volume in enumerate(volumes, start=2):
            row = JobRow(
                line=line,
                volume_id=volume.volume_id,
                image_name=None,
                target=TargetKey(),
                options=NO_OPTIONS,
            )
            build.add(row, f"{volume.volume_id}-image")
        build.finish(record)


async def _run(path: Path, stack: Stack, settings: Settings) -> None:
    async with stores.open_for_work(path, now=now) as state:
        await engine.run(state, cast(engine.Connect, stack.connect), settings, stop=asyncio.Event(), now=now)
        counts = (await state.remaining()).is_done(frozenset())
    if not counts:
        raise RuntimeError("rows are left")


def main() -> None:
    """Print the table of docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 200, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=3, help="lists of each length (3)")
    asked = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {SLOTS} exports at once, virtual time,"
        f" median (most) of {asked.rounds}"
    )
    print("| volumes | the largest first | in the order of the list |\n|---|---|---|")
    for count in asked.counts:
        cells = []
        for order in (ExportOrder.PRIORITY, ExportOrder.LIST):
            ratios = []
            for seed in range(asked.rounds):
                volumes = volumes_of(count, seed)
                ratios.append(makespan_s(volumes, order) / lower_bound_s(volumes))
            cells.append(f"{median(ratios):.3f} ({max(ratios):.3f})")
        print(f"| {count:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

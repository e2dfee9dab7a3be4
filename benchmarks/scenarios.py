"""What is measured: figures that mean something on any machine, ratios within one run and counts."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from subprocess import DEVNULL, Popen, check_output

from lists import almost_done, job_list
from measured import HERE, PROGRAM, Cost, Target, run, target

CONCURRENCY = 128
FAST = ("--requests-per-second", "0", "--concurrency", str(CONCURRENCY), "--max-exports", "10000", "-q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, and what it is to be at most or at least; None = shown without a judgement."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool | None:
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where lists are kept, and how much is measured."""

    folder: Path
    rounds: int
    longest: int  #: rows of the longest list


@contextmanager
def fresh_state(bench: Bench) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        yield Path(folder) / "run.state"


def export_all(bench: Bench, cloud: Target, rows: int, *options: str) -> Cost:
    """The cost of a whole run over so many rows."""
    with fresh_state(bench) as state:
        words = (*PROGRAM, "run", str(job_list(bench.folder, rows)), "--state", str(state), *FAST, *options)
        cost = run(words, env=cloud.env, cwd=state.parent)
    counted = cloud.count()
    if counted["exports"] != rows or counted["twice"]:
        raise RuntimeError(f"{rows} rows, but {counted}")
    return cost


def rate_of(cloud: Target) -> float:
    counted = cloud.count()
    return (counted["exports"] - 1) / (counted["last"] - counted["first"])


def throughput(bench: Bench) -> Iterator[Figure]:
    """Beside the bare loop, one after the other in each round."""
    rows, rates, costs = 4000, [], []
    with target() as cloud:
        for _ in range(bench.rounds):
            cloud.set()
            source = str(job_list(bench.folder, rows))
            bare = run((sys.executable, str(HERE / "bare.py"), source, cloud.address))
            bare_rate = rate_of(cloud)
            cloud.set(volumes=rows)
            ours = export_all(bench, cloud, rows, "--poll-interval", "2")
            rates.append(rate_of(cloud) / bare_rate)
            costs.append(ours.cpu_s / bare.cpu_s)
    yield Figure(name="durable exports/s, over bare aiohttp", value=median(rates), at_least=0.8)
    yield Figure(name="CPU per export, start included, over bare aiohttp", value=median(costs), at_most=1.5)


def waiting(bench: Bench) -> Iterator[Figure]:
    rows = 10_000
    with target() as cloud:
        cloud.set(delay=20, volumes=rows)
        export_all(bench, cloud, rows, "--poll-interval", "2")
        requests = cloud.count()["requests"] / rows
    yield Figure(name="requests per export, 10,000 in progress, 10 looks", value=requests, at_most=1.02)


def told_rate(bench: Bench) -> Iterator[Figure]:
    rows, rate = 2000, 200.0
    with target() as cloud:
        cloud.set(rate=rate, burst=rate / 10, volumes=rows)
        export_all(bench, cloud, rows, "--requests-per-second", f"{rate}")
        share, rejected = rate_of(cloud) / rate, cloud.count()["rejected"]
    yield Figure(name="share of the allowed rate, told 200/s", value=share, at_least=0.98)
    yield Figure(name="429 answers meanwhile", value=rejected, at_most=0)


def unknown_rate(bench: Bench) -> Iterator[Figure]:
    rate, learning_s, working_s = 20.0, 40.0, 60.0
    with target() as cloud, fresh_state(bench) as state:
        cloud.set(rate=rate, burst=rate / 10)
        words = (*PROGRAM, "run", str(job_list(bench.folder, 10_000)), "--state", str(state), *FAST)
        with Popen(
            (*words, "--requests-per-second", "50"), env={**cloud.env}, cwd=state.parent, stderr=DEVNULL
        ) as process:
            time.sleep(learning_s)
            learnt = cloud.count()
            time.sleep(working_s)
            worked = cloud.count()
            process.terminate()
    share = (worked["exports"] - learnt["exports"]) / working_s / rate
    yield Figure(
        name="429 answers on the way from 50/s to an unknown 20/s", value=learnt["rejected"], at_most=5
    )
    yield Figure(name="share of the unknown rate afterwards", value=share, at_least=0.9)


def loading(bench: Bench) -> Iterator[Figure]:
    lists = (job_list(bench.folder, bench.longest), job_list(bench.folder, bench.longest, shuffled=True))
    ratios: dict[Path, list[float]] = {source: [] for source in lists}
    for source in lists * bench.rounds:
        seconds = []
        for how in ("ours", "plain"):
            with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
                words = (sys.executable, str(HERE / "loading.py"), how, str(source), folder)
                seconds.append(float(check_output(words)))
        ratios[source].append(seconds[0] / seconds[1])
    rising, shuffled = map(median, ratios.values())
    yield Figure(name="load a list, CPU over csv and executemany", value=rising, at_most=1.5)
    yield Figure(name="… a list whose names are in no order", value=shuffled)


def short_commands(bench: Bench) -> Iterator[Figure]:
    state = almost_done(bench.folder, bench.longest, left=1000)
    passes = _each(bench, (sys.executable, "-c", "pass"))
    version, help_ = _each(bench, (*PROGRAM, "--version")), _each(bench, (*PROGRAM, "--help"))
    status = _each(bench, (*PROGRAM, "status", str(state)))
    yield Figure(name="CPU of --version, over python -c pass", value=_cpu(version) / _cpu(passes), at_most=5)
    yield Figure(name="CPU of --help, over python -c pass", value=_cpu(help_) / _cpu(passes), at_most=5)
    more_s = _wall(status) - _wall(version)
    yield Figure(name=f"status of {bench.longest:,} rows, s more than --version", value=more_s, at_most=0.3)
    with target() as cloud:
        cloud.set(volumes=1000)
        first_s = _first_request_s(cloud, (*PROGRAM, "resume", str(state), *FAST))
    more_s = first_s - _wall(version)
    yield Figure(
        name=f"resume of {bench.longest:,} rows to its first request, s more", value=more_s, at_most=1
    )


def _each(bench: Bench, words: Sequence[str]) -> list[Cost]:
    return [run(words) for _ in range(3 * bench.rounds)]


def _cpu(costs: Sequence[Cost]) -> float:
    return median(cost.cpu_s for cost in costs)


def _wall(costs: Sequence[Cost]) -> float:
    return median(cost.wall_s for cost in costs)


def _first_request_s(cloud: Target, words: Sequence[str]) -> float:
    began = time.monotonic()
    with Popen(words, env=cloud.env) as process:
        while not cloud.count()["requests"]:
            time.sleep(0.005)
        return_s = time.monotonic() - began
        process.wait()
    return return_s


#: In the order of the table.
SCENARIOS: tuple[Callable[[Bench], Iterator[Figure]], ...] = (
    throughput,
    waiting,
    told_rate,
    unknown_rate,
    loading,
    short_commands,
)

"""Random weather, random crashes: the laws of evidence hold of the real client against the sandbox.

Each seed is one schedule; a failing one is printed by the test's own name. BATCHEXPORT_TEST_SCHEDULES=2000
runs that many.
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import InUse, Limits, ServerStops, Settings
from batchexport.report.rows import json_lines
from batchexport.sandbox import Faults, SandboxServer, SandboxVolume
from batchexport.sandbox.weather import Weather, settings
from batchexport.sandbox.weather.presets import PRESETS
from tests.crash.evidence import Evidence, verdict
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fast_time import fast_now, let_pass
from tests.engine.full_stack import Stack, now
from tests.engine.test_random_schedules import RETRIES, SCHEDULES, until_crash

VOLUMES = 8
SERVERS = 3
#: Each seed with servers that are stopped, and half of them with copies as well.
DRAWN = [(seed, InUse.STOP) for seed in range(SCHEDULES)]
DRAWN += [(seed, InUse.SNAPSHOT) for seed in range((SCHEDULES + 1) // 2)]
#: What a run is told to stop after, if it did not come to its end: days, for weather that never clears up.
LONGEST_S = 3 * 86_400.0


def drawn_weather(dice: Any) -> Any:
    """Some faults, each as strong as a cloud may have it."""
    lists_only = dice.choice(["all", "lists", "by_id"])
    faults = {
        "lag": settings.Lag(share=dice.random(), seconds=dice.choice([1.0, 5.0, 25.0]), reads=lists_only),
        "missing": settings.Missing(share=dice.choice([0.05, 0.3])),
        "stale": settings.Stale(share=0.3, seconds=dice.choice([2.0, 20.0])),
        "odd_image": settings.OddImage(),
        "gateway": settings.Gateway(share=0.1, statuses=(502, 503, 504)),
        "capped_lists": settings.CappedLists(share=dice.choice([0.2, 1.0]), records=3),
        "slow_lists": settings.SlowLists(share=0.2, services=("image",)),
        "flapping_token": settings.FlappingToken(),
        "throttled": settings.Throttled(share=0.02, waits=("1", "1000000000", "soon")),
        "long_headers": settings.LongHeaders(share=0.3),
        "gzip": settings.Gzip(share=0.3),
        "clocks": settings.Clocks(
            volume_s=dice.choice([0.0, 90.0, -4000.0]),
            image_s=dice.choice([-600.0, 65.0, 5000.0]),
            shown_in=dice.choice(["both", "header", "records"]),
        ),
        "cell": settings.Cell(share=0.5, from_s=30.0, for_s=dice.choice([30.0, 300.0])),
        "short_image": settings.ShortImage(share=0.2),
        "identity": settings.Identity(
            away_from_s=30.0, away_for_s=dice.choice([20.0, 200.0]), per_second=0.5
        ),
        "late": settings.Late(seconds=dice.choice([20.0, 200.0])),
        "vanishing": settings.Vanishing(seconds=dice.choice([5.0, 50.0])),
        "foreign_image": settings.ForeignImage(),
        "swapped": settings.Swapped(share=0.3),
        "repeated": settings.Repeated(),
        "lost": settings.Lost(share=0.2, late_s=dice.choice([0.0, 10.0])),
        "deleter": settings.Deleter(after_s=dice.choice([1.0, 100.0])),
        "rival": settings.Rival(),
    }
    chosen = dice.sample(sorted(faults), dice.randrange(1, 8))
    if "missing" in chosen:  # together they must not hide an image for as long as the settling time
        faults["lag"] = replace(faults["lag"], seconds=5.0)
    told: dict[str, Any] = {name: faults[name] for name in chosen}
    return Weather(seed=dice.randrange(10**6), **told)


def drawn_servers(dice: Any, ids: list[str]) -> Any:
    held = dice.sample(ids, SERVERS + 1)
    return [
        SandboxServer(
            server_id=f"5e000000-0000-4000-8000-00000000000{number}", name=f"vm{number}", volume_ids=of
        )
        for number, of in enumerate([held[:2], held[2:3], held[3:4]])
    ]


def drawn_pace(dice: Any) -> dict[str, float]:
    """How fast the cloud is: a downtime may be over before a replica knows that it began."""
    return {
        "server_stop_s": dice.choice([0.5, 2.0, 20.0]),
        "server_start_s": dice.choice([0.5, 2.0, 10.0]),
        "seconds_base": dice.choice([0.5, 20.0]),
        "seconds_per_gib": dice.choice([0.0, 5.0]),
    }


def report_of(bench: Bench) -> Any:
    with bench.reader() as reader:
        return json.loads("\n".join(json_lines(reader, reader.jobs(), now=now())))


@pytest.mark.parametrize(("seed", "in_use"), DRAWN, ids=str)
def test_under_any_weather_no_law_of_evidence_is_broken(
    tmp_path: Path, seed: int, in_use: InUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(2000 + seed)
    ids = volume_ids(VOLUMES)
    volumes = [
        SandboxVolume(volume_id=each, name=each[:8], size_gib=dice.choice([1, 10, 40])) for each in ids
    ]
    servers, weather = drawn_servers(dice, ids), drawn_weather(dice)
    stack = Stack(
        tmp_path,
        monkeypatch,
        volumes=volumes,
        servers=servers,
        synthetic_volumes=False,
        weather=weather,
        **drawn_pace(dice),
    )
    told = Settings(
        in_use=in_use,
        limits=Limits(
            poll_interval_s=dice.choice([5.0, None]) if in_use is InUse.SNAPSHOT else 5.0,
            max_exports=4,
            concurrency=3,
            retries=RETRIES,
            settle_s=30.0,
        ),
        server_stops=ServerStops(max_down=dice.choice([1, 10]), stop_timeout_s=300.0),
    )
    bench = Bench(tmp_path / "0.state")
    bench.load(ids)
    crashes = 0
    while until_crash(
        bench,
        stack,
        snapshot := tmp_path / f"{crashes + 1}.state",
        crash_after=dice.choice([1000, dice.randrange(1, 25)]),
        full_after=0,
        settings=told,
        stop_s=LONGEST_S,
    ):
        crashes += 1
        bench = Bench(snapshot)
        let_pass(31.0)  # the dead owner's lease
        assert crashes < 100, "it never ends"

    let_pass(86_400.0)
    found = verdict(report_of(bench), ids, Evidence.of(stack.events(), servers))
    assert not found.words, f"{weather}\n" + "\n".join(found.words)


def test_rows_that_get_no_image_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the weathers above keeps a volume from its image for good: every export fails here."""
    ids = volume_ids(VOLUMES)
    volumes = [SandboxVolume(volume_id=each, name=each[:8], size_gib=1) for each in ids]
    stack = Stack(
        tmp_path, monkeypatch, volumes=volumes, synthetic_volumes=False, faults=Faults(fail_share=1.0)
    )
    bench = Bench(tmp_path / "0.state")
    bench.load(ids)
    told = Settings(limits=Limits(poll_interval_s=5.0, retries=0, settle_s=30.0))
    while until_crash(bench, stack, bench.path, crash_after=0, full_after=0, settings=told, stop_s=LONGEST_S):
        let_pass(31.0)
    found = verdict(report_of(bench), ids, Evidence.of(stack.events()))
    assert not found.words, "\n".join(found.words)
    assert found.named == len(ids)


@pytest.mark.parametrize(("name", "errors"), [("stuck", 0.0), ("absurd-retry-after", 0.0), ("storm", 0.1)])
@pytest.mark.timeout(600)  # days of virtual time
def test_a_run_ends_under_the_worst_weather_that_has_a_name(
    tmp_path: Path, name: str, errors: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = volume_ids(SERVERS + 1)
    volumes = [SandboxVolume(volume_id=each, name=each[:8], size_gib=1) for each in ids]
    servers = drawn_servers(random.Random(1), ids)
    stack = Stack(
        tmp_path,
        monkeypatch,
        volumes=volumes,
        servers=servers,
        synthetic_volumes=False,
        weather=PRESETS[name],
        faults=Faults(error_share=errors),
    )
    bench = Bench(tmp_path / "0.state")
    bench.load(ids)
    began_at = fast_now()
    told = Settings(in_use=InUse.STOP, limits=Limits(retries=RETRIES, settle_s=30.0))
    while until_crash(  # a cloud that is away ends the run with an error: the same command goes on
        bench, stack, bench.path, crash_after=0, full_after=0, settings=told, stop_s=LONGEST_S
    ):
        let_pass(60.0)
        assert fast_now() - began_at < LONGEST_S, "it never ends"
    assert fast_now() - began_at < LONGEST_S
    let_pass(86_400.0)
    found = verdict(report_of(bench), ids, Evidence.of(stack.events(), servers))
    assert not found.words, "\n".join(found.words)

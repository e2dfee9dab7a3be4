import asyncio
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import batchexport
from batchexport.app.embedded_sandbox import WEATHER
from batchexport.config import keywords
from batchexport.export_options import ExportOptions
from batchexport.sandbox.weather import Weather
from batchexport.sandbox.weather.settings import ShortImage
from batchexport.sandbox.world import synthetic_volume


def small_volumes(count: int) -> list[str]:
    """Ids of volumes that the sandbox has exported within three seconds: most take up to twenty."""
    ids = (f"00000000-0000-4000-8000-{number:012}" for number in itertools.count())
    volumes = filter(None, map(synthetic_volume, ids))
    small = (each.volume_id for each in volumes if 30 <= (each.size_gib or 0) <= 70)
    return list(itertools.islice(small, count))


IDS = small_volumes(6)
QUICK: batchexport.ExportOptions = {"cloud": "sandbox", "requests_per_second": 0, "poll_interval_s": 0.05}


def listed(name: str = "volumes.csv", ids: list[str] = IDS) -> str:
    Path(name).write_text("\n".join(["volume_id", *ids]) + "\n")
    return name


async def test_a_list_is_exported_and_every_image_is_named() -> None:
    changes: list[batchexport.JobChange] = []
    outcome = await batchexport.export(listed(), on_change=changes.append, **QUICK)
    assert outcome.ok and outcome.exit_code == 0
    assert set(outcome.images) == set(IDS)
    assert not (
        outcome.failed or outcome.skipped or outcome.ambiguous or outcome.unfinished or outcome.suspect
    )
    assert outcome.state_path == Path("volumes.state")
    ended = Counter(change.job.volume_id for change in changes if change.after == "succeeded")
    assert ended == Counter(IDS)


async def test_the_same_call_again_exports_nothing_anew() -> None:
    first = await batchexport.export(listed(), **QUICK)
    changes: list[Any] = []
    again = await batchexport.export("volumes.csv", on_change=changes.append, **QUICK)
    assert again.images == first.images and not changes
    assert batchexport.read_outcome("volumes.state").images == first.images


async def test_rows_may_be_given_as_values() -> None:
    rows: list[str | dict[str, str]] = [IDS[0], {"volume_id": IDS[1], "image_name": "one"}]
    outcome = await batchexport.export(rows, state="rows.state", **QUICK)
    assert set(outcome.images) == set(IDS[:2])
    assert outcome.rows[1].image_name == "one"
    assert (await batchexport.export(rows, state="rows.state", **QUICK)).images == outcome.images
    with pytest.raises(batchexport.ConfigError, match="state is missing"):
        await batchexport.export(rows, **QUICK)


async def test_several_exports_go_on_at_once() -> None:
    listed("a.csv", IDS[:3])
    listed("b.csv", IDS[3:])
    one, other = await asyncio.gather(
        batchexport.export("a.csv", **QUICK), batchexport.export("b.csv", **QUICK)
    )
    assert set(one.images) == set(IDS[:3]) and set(other.images) == set(IDS[3:])


async def test_one_state_file_is_for_one_export_at_a_time() -> None:
    listed()
    one = asyncio.create_task(batchexport.export("volumes.csv", **QUICK))
    await asyncio.sleep(0)
    with pytest.raises(batchexport.StateInUseError, match="another export of this process"):
        await batchexport.export("volumes.csv", **QUICK)
    assert (await one).ok


async def test_an_image_that_is_not_known_to_be_whole_is_named() -> None:
    token = WEATHER.set(Weather(short_image=ShortImage(share=1.0)))
    try:
        outcome = await batchexport.export(listed(ids=IDS[:2]), **QUICK)
    finally:
        WEATHER.reset(token)
    assert set(outcome.suspect) == set(outcome.images) == set(IDS[:2])
    assert outcome.exit_code == 3 and not outcome.ok


async def test_a_cancelled_export_drains_before_it_ends() -> None:
    seen: list[batchexport.JobChange] = []
    accepted = asyncio.Event()

    def on_change(change: batchexport.JobChange) -> None:
        seen.append(change)
        if change.after == "submitting":
            accepted.set()

    task = asyncio.create_task(batchexport.export(listed(), on_change=on_change, **QUICK))
    await accepted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcome = batchexport.read_outcome("volumes.state")
    # What was sent has its answer: no row is left whose fate is not known.
    assert not [row for row in outcome.rows if row.state == "submitting"]
    assert (await batchexport.export("volumes.csv", **QUICK)).ok


async def test_an_export_that_is_cancelled_while_its_list_is_loaded_leaves_it_whole_or_not_at_all() -> None:
    task = asyncio.create_task(batchexport.export(listed(), **QUICK))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await batchexport.export("volumes.csv", **QUICK)).ok


async def test_a_time_limit_is_a_cancellation() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await batchexport.export(listed(), cloud="sandbox", poll_interval_s=60.0)
    assert (await batchexport.resume("volumes.state", **QUICK)).ok


async def test_an_observer_that_fails_ends_no_export(caplog: pytest.LogCaptureFixture) -> None:
    def on_change(change: batchexport.JobChange) -> None:
        raise RuntimeError("not ours")

    with caplog.at_level(logging.ERROR, "batchexport"):
        assert (await batchexport.export(listed(), on_change=on_change, **QUICK)).ok
    assert "on_change failed" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()], ids=lambda each: type(each).__name__)
async def test_an_observer_that_ends_the_program_lets_the_export_drain_first(error: BaseException) -> None:
    """It once left the event loop in the middle of a request, and every other task was thrown away."""
    told: list[batchexport.JobChange] = []

    def on_change(change: batchexport.JobChange) -> None:
        told.append(change)
        raise error

    with pytest.raises(type(error)) as raised:
        await batchexport.export(listed(), on_change=on_change, **QUICK)
    assert raised.value is error and len(told) == 1
    outcome = batchexport.read_outcome("volumes.state")
    assert not [row for row in outcome.rows if row.state == "submitting"]
    assert (await batchexport.export("volumes.csv", **QUICK)).ok


async def test_nothing_of_the_process_is_touched(capfd: pytest.CaptureFixture[str]) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def touched() -> list[Any]:
        return [[signal.getsignal(number) for number in numbers], logging.root.handlers[:], dict(os.environ)]

    before = touched()
    during: list[Any] = []

    def on_change(change: batchexport.JobChange) -> None:
        during.append([signal.getsignal(number) for number in numbers])

    await batchexport.export(listed(), on_change=on_change, **QUICK)
    assert touched() == before
    assert all(each == before[0] for each in during) and during
    assert capfd.readouterr() == ("", "")


async def test_a_list_with_problems_tells_all_of_them() -> None:
    with pytest.raises(batchexport.JobListError) as caught:
        await batchexport.export(listed(ids=["vol-7", "vol-8"]), **QUICK)
    assert len(caught.value.problems) == 2


async def test_an_option_that_is_none_is_refused() -> None:
    options: Any = {"max_export": 3}
    with pytest.raises(batchexport.ConfigError, match="max_export"):
        await batchexport.export(listed(), **options)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("max_exports", ["many", 0, -1, 1.5, True]),
        ("concurrency", [0, "x"]),
        ("poll_interval_s", [-1, 0, float("nan"), float("inf"), []]),
        ("retries", [-1, 0.5]),
        ("max_failures", ["x%", 0, []]),
        ("in_doubt_timeout_s", [-1, float("inf"), "soon"]),
        ("in_use", ["sometimes", 3]),
        ("order", ["backwards", 3]),
        ("stop_servers", ["yes", 1]),
        ("max_servers_down", [0]),
        ("max_duration_s", [0, "soon"]),
        ("max_gib", [0, 1.5]),
        ("max_temporary", [0]),
        ("max_temporary_gib", [-1]),
        ("properties", ["a=b", {"a": 1}, {"status": "x"}]),
        ("tags", ["a", [1], ["a,b"]]),
        ("provenance", ["x"]),
        ("stop_timeout_s", [0, -5]),
        ("name_template", [5, "", "{nope}"]),
        ("encoding", ["nope", 5]),
        ("disk_format", ["zip", 3]),
        ("visibility", ["secret"]),
        ("protected", ["maybe"]),
        ("wait", ["no"]),
        ("preflight", ["no"]),
        ("export_again", ["x"]),
        ("dialect", ["azure", 4]),
        ("requests_per_second", [-1, "fast", float("nan")]),
        ("sign_in", [5, ["auth_url"]]),
        ("sign_in_timeout_s", [-1, "x"]),
        ("insecure", ["x"]),
        ("cloud", [5, ""]),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused_before_anything_is_done(
    option: str, values: list[object]
) -> None:
    listed()
    for value in values:
        options: Any = {**QUICK, option: value}
        with pytest.raises(batchexport.ConfigError, match=option if value != "{nope}" else "template"):
            asyncio.run(batchexport.export("volumes.csv", **options))
    assert not Path("volumes.state").exists()


def test_every_option_that_is_documented_is_read() -> None:
    """Four of them were refused as unknown."""
    documented = set(get_type_hints(ExportOptions)) - {"export_again"}
    assert documented == set(keywords._READERS)


@pytest.mark.parametrize("source", [None, 5, b"x", {"volume_id": IDS[0]}, [5], [None], [[IDS[0]]], [{}], []])
def test_what_is_no_list_is_refused(source: Any) -> None:
    with pytest.raises(batchexport.JobListError):
        asyncio.run(batchexport.export(source, state="x.state", **QUICK))
    assert not Path("x.state").exists()


async def test_plan_discover_verify_and_report() -> None:
    volumes = await batchexport.discover(cloud="sandbox")
    assert len(volumes) == 12
    some = batchexport.VolumeFilter(names=["volume-0001"])
    (volume,) = await batchexport.discover(volume_filter=some, cloud="sandbox")
    ids = [each.volume_id for each in volumes]
    (summary,) = (await batchexport.plan_export(ids, **QUICK)).values()
    assert summary.rows == 12 and not summary.cannot
    outcome = await batchexport.export([volume.volume_id], state="one.state", **QUICK)
    (found,) = (await batchexport.verify("one.state", cloud="sandbox")).values()
    assert found.passed and found.images == 1
    assert outcome.images[volume.volume_id] in batchexport.render_report("one.state", "csv")


def test_every_public_name_is_there_and_described() -> None:
    for name in batchexport.__all__:
        found = getattr(batchexport, name)
        assert name == "__version__" or name == "JobChange" or found.__doc__, name
    assert set(batchexport.__all__) <= set(dir(batchexport))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = batchexport.nothing
    assert Path(batchexport.__file__ or "").with_name("py.typed").exists()


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import batchexport, sys; print(*(name for name in sys.modules if name.startswith('batchexport')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == ["batchexport.version", "batchexport"]


@pytest.mark.slow
def test_the_example_in_the_readme_works() -> None:
    text = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    (example,) = (each for each in re.findall(r"```python\n(.*?)```", text, re.S) if "asyncio.run" in each)
    listed()
    code = example.replace('cloud="prod"', 'cloud="sandbox"')
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert IDS[0] in run.stdout

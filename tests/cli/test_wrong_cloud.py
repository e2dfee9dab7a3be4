"""A state file belongs to the cloud that it was first signed in to: no other one is taken for it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.identity import SANDBOX
from batchexport.store import StateReader
from tests.cli.clouds import define, defined
from tests.cli.lists import write_list
from tests.cli.served import IDS, served, volumes

QUICK = ("--requests-per-second", "0", "--poll-interval", "0.1")


@contextmanager
def two_clouds(**settings: Any) -> Iterator[Any]:
    """The clouds `here` and `there`: each has a region, a project and volumes called the same."""
    with served(*volumes(), **settings) as here:
        mine = defined().replace("  served:", "  here:")
        with served(*volumes(), **settings) as there:
            define(mine + defined().replace("clouds:\n", "").replace("  served:", "  there:"))
            yield here, there


def state() -> Any:
    with StateReader(Path("v.state")) as reader:
        return [job.state.value for job in reader.jobs()], list(reader.overview().identities.values())


@pytest.fixture
def volume_list() -> None:
    Path("v.csv").write_text("\n".join(["volume_id", *IDS]))


@pytest.mark.usefixtures("volume_list")
@pytest.mark.parametrize(
    "words",
    [
        ("run", "v.csv"),
        ("resume", "v.state"),
        ("retry", "v.state"),
        ("reconcile", "v.state"),
        ("verify", "v.state"),
    ],
)
def test_another_cloud_is_refused_and_named(batchexport: Callable[..., Result], words: str) -> None:
    with two_clouds(time_scale=0.001):
        batchexport("run", "v.csv", "--os-cloud", "here", *QUICK, "--no-wait")
        before = state()
        more = QUICK if words[0] in ("run", "resume", "retry") else ()
        result = batchexport(*words, "--os-cloud", "there", *more)
        assert result.exit_code == 5, result.output
        assert "belongs to cloud here" in result.stderr
        assert "but this is cloud there" in result.stderr
        assert "--state" in result.stderr
        assert state() == before


@pytest.mark.usefixtures("volume_list")
@pytest.mark.parametrize("command", [("run", "v.csv"), ("resume", "v.state"), ("retry", "v.state")])
def test_a_finished_run_counts_for_its_own_cloud_alone(
    batchexport: Callable[..., Result], command: str
) -> None:
    with two_clouds():
        assert batchexport("run", "v.csv", "--os-cloud", "here", *QUICK).exit_code == 0
        assert batchexport("run", "v.csv", "--os-cloud", "here", *QUICK).exit_code == 0
        result = batchexport(*command, "--os-cloud", "there", *QUICK)
        assert result.exit_code == 5, result.output


@pytest.mark.parametrize("rehearsed", [True, False])
def test_the_practice_cloud_counts_for_no_real_one_and_no_real_one_for_it(
    batchexport: Callable[..., Result], rehearsed: Any
) -> None:
    write_list(Path("v.csv"), 3)
    with served(synthetic_volumes=True):
        clouds = ("sandbox", "served") if rehearsed else ("served", "sandbox")
        assert batchexport("run", "v.csv", "--os-cloud", clouds[0], *QUICK).exit_code == 0
        result = batchexport("run", "v.csv", "--os-cloud", clouds[1], *QUICK)
        assert result.exit_code == 5, result.output
        assert "the sandbox" in result.stderr
        assert "--state" in result.stderr
        moved = batchexport("run", "v.csv", "--os-cloud", clouds[1], *QUICK, "--rebind-cloud")
        assert moved.exit_code == 5


@pytest.mark.usefixtures("volume_list")
def test_a_cloud_whose_addresses_have_changed_goes_on_when_told(batchexport: Callable[..., Result]) -> None:
    with two_clouds():
        batchexport("run", "v.csv", "--os-cloud", "here", *QUICK)
        refused = batchexport("resume", "v.state", "--os-cloud", "there", *QUICK)
        assert "--rebind-cloud" in refused.stderr
        allowed = batchexport("retry", "v.state", "--os-cloud", "there", *QUICK, "--rebind-cloud")
        assert allowed.exit_code == 0, allowed.output


@pytest.mark.parametrize("command", [("run", "--dry-run"), ("plan",)])
def test_what_is_only_looked_at_names_the_cloud_of_the_state_file(
    batchexport: Callable[..., Result], command: str
) -> None:
    write_list(Path("v.csv"), 3)
    with served(synthetic_volumes=True):
        batchexport("run", "v.csv", "--os-cloud", "sandbox", *QUICK)
        result = batchexport(command[0], "v.csv", "--os-cloud", "served", *command[1:])
    assert "there already, and belongs to the sandbox" in result.output


def test_the_practice_cloud_is_the_same_wherever_it_listens(batchexport: Callable[..., Result]) -> None:
    write_list(Path("v.csv"), 3)
    batchexport("run", "v.csv", "--os-cloud", "sandbox", *QUICK, "--no-wait")
    assert state()[1] == [SANDBOX]
    assert batchexport("resume", "v.state", "--os-cloud", "sandbox", *QUICK).exit_code == 0


@pytest.mark.usefixtures("volume_list")
def test_what_is_carried_on_and_its_status_name_cloud_region_and_project(
    batchexport: Callable[..., Result],
) -> None:
    with two_clouds():
        first = batchexport("run", "v.csv", "--os-cloud", "here", *QUICK, "--no-wait")
        assert "cloud here" in first.stderr
        for words in (("resume", "v.state", "--os-cloud", "here", *QUICK), ("status", "v.state")):
            result = batchexport(*words)
            assert "cloud here, region " in result.output
            assert ", project " in result.output


@pytest.mark.usefixtures("volume_list")
def test_a_refused_retry_changes_nothing(batchexport: Callable[..., Result]) -> None:
    with served(*volumes(statuses=["error"] * 5)):
        assert batchexport("run", "v.csv", "--os-cloud", "served", *QUICK).exit_code == 3
        before = batchexport("report", "v.state", "-f", "csv").stdout
        assert batchexport("retry", "v.state", "--os-cloud", "srvd", *QUICK).exit_code == 2
        assert batchexport("report", "v.state", "-f", "csv").stdout == before
        with two_clouds():
            assert batchexport("retry", "v.state", "--os-cloud", "there", *QUICK).exit_code == 5
        assert batchexport("report", "v.state", "-f", "csv").stdout == before


def test_one_project_that_a_list_names_twice_exports_a_volume_once(
    batchexport: Callable[..., Result],
) -> None:
    rows = [*(f"{volume_id},here" for volume_id in IDS), *(f"{volume_id}," for volume_id in IDS)]
    Path("v.csv").write_text("\n".join(["volume_id,cloud", *rows]))
    with two_clouds() as (here, _):
        result = batchexport("run", "v.csv", "--os-cloud", "here", *QUICK)
        assert result.exit_code == 0, result.output
        assert sorted(state()[0]) == ["skipped"] * 5 + ["succeeded"] * 5
        again = batchexport("retry", "v.state", "--skipped", "--os-cloud", "here", *QUICK)
        assert again.exit_code == 0, again.output
        assert sorted(state()[0]) == ["skipped"] * 5 + ["succeeded"] * 5
        assert len(list(here._state.world.images(time.time()))) == 5


@pytest.mark.usefixtures("volume_list")
@pytest.mark.parametrize("rehearsed", [True, False])
@pytest.mark.parametrize("command", [("run", "v.csv"), ("resume", "v.state"), ("retry", "v.state")])
def test_a_finished_run_is_no_success_on_a_cloud_that_nobody_defined(
    batchexport: Callable[..., Result], command: str, rehearsed: Any
) -> None:
    write_list(Path("v.csv"), 3)
    with served(synthetic_volumes=True):
        first = batchexport("run", "v.csv", "--os-cloud", "sandbox" if rehearsed else "served", *QUICK)
        assert first.exit_code == 0, first.output
        result = batchexport(*command, "--os-cloud", "srvd", *QUICK)
        assert result.exit_code == 2, result.output
        assert "'srvd' is not in clouds.yaml; known clouds: served" in result.stderr

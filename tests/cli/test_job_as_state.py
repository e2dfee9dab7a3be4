"""A job file in the place of a state file stands for the newest one of its own; a state file is no list."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.lists import write_list
from tests.cli.test_run import QUICK


@pytest.fixture
def job() -> None:
    write_list(Path("volumes.csv"), 2)
    Path("job.toml").write_text(
        '[job]\nlist = "volumes.csv"\nstate_dir = "nights"\n[cloud]\nname = "sandbox"\n'
        '[limits]\npoll_interval = "0.1s"\nrequests_per_second = 0\n'
    )


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("command", ["status", "report", "servers", "resume", "retry", "verify", "reconcile"])
def test_a_job_file_stands_for_its_newest_state_file(
    batchexport: Callable[..., Result], command: str
) -> None:
    assert batchexport("run", "job.toml").exit_code == 0
    (night,) = Path("nights").glob("*.state")
    result = batchexport(command, "job.toml")
    assert result.exit_code == 0, result.output
    if command in ("status", "resume", "retry"):
        assert night.name in result.output


@pytest.mark.usefixtures("job")
def test_a_job_without_a_state_file_says_so(batchexport: Callable[..., Result]) -> None:
    result = batchexport("status", "job.toml")
    assert result.exit_code == 2
    assert "has no state file yet" in result.stderr


@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_a_state_file_given_as_a_list_is_named_as_one_and_left_alone(
    batchexport: Callable[..., Result], command: str
) -> None:
    write_list(Path("volumes.csv"), 2)
    batchexport("run", "volumes.csv", *QUICK, "--no-wait")
    before = Path("volumes.state").read_bytes()
    words = QUICK[:2] if command == "plan" else QUICK if command == "run" else ()
    result = batchexport(command, "volumes.state", *words)
    assert result.exit_code == 2
    assert "state file" in result.stderr
    assert "batchexport resume" in result.stderr
    assert Path("volumes.state").read_bytes() == before


@pytest.mark.parametrize("command", ["status", "report", "resume", "retry", "give-up", "cleanup", "servers"])
def test_a_state_file_that_is_not_there_is_told_with_those_that_are(
    batchexport: Callable[..., Result], command: str
) -> None:
    none = batchexport(command, "v.state")
    assert none.exit_code == 2
    assert "v.state: no such state file" in none.stderr
    assert "no state file in this folder; a run keeps it beside its list" in none.stderr
    for number in range(7):
        Path(f"n{number}.state").touch()
    some = batchexport(command, "v.state")
    assert (
        "state files in this folder: n0.state, n1.state, n2.state, n3.state, n4.state and 2 more"
        in some.stderr
    )
    assert "no such job file" in batchexport(command, "v.toml").stderr
    assert "cannot read folder nights" in batchexport(command, "nights/v.state").stderr

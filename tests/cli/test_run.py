import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.store import StateReader
from tests.cli.lists import quick_ids, write_list

QUICK = ("--os-cloud", "sandbox", "--requests-per-second", "0", "--poll-interval", "0.1")
SUM_OF_THREE = "3 rows = 3 succeeded + 0 failed + 0 skipped + 0 ambiguous + 0 to do"


def exports_per_volume(journal: Path | str) -> Counter[str]:
    """How many exports of each volume a practice cloud accepted, by its own record."""
    events = [json.loads(line) for line in Path(journal).read_text().splitlines()]
    return Counter(event["volume_id"] for event in events if event.get("event") == "export")


@pytest.fixture
def volumes() -> Any:
    return write_list(Path("volumes.csv"))


def test_a_run_exports_every_volume_and_sums_up_on_stdout(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    result = batchexport("run", volumes, *QUICK)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == SUM_OF_THREE
    assert "state file: volumes.state" in result.stdout
    assert result.stderr.startswith("starting run ")
    assert exports_per_volume("volumes.state.sandbox") == Counter(quick_ids(3))


def test_a_run_without_waiting_is_carried_on_by_resume(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    first = batchexport("run", volumes, *QUICK, "--no-wait")
    assert first.exit_code == 0
    assert "to do: 0 pending, 0 submitting, 3 exporting" in first.stdout
    assert "batchexport resume volumes.state --os-cloud sandbox" in first.stdout
    second = batchexport("resume", "volumes.state", *QUICK)
    assert second.exit_code == 0
    assert second.stdout.splitlines()[0] == SUM_OF_THREE
    assert exports_per_volume("volumes.state.sandbox") == Counter(quick_ids(3))


def test_quiet_says_nothing(batchexport: Callable[..., Result], volumes: dict[str, Any]) -> None:
    result = batchexport("run", volumes, *QUICK, "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_failed_rows_give_code_3_and_retry_tries_them_again(batchexport: Callable[..., Result]) -> None:
    volumes = write_list(Path("v.csv"), 2, header="volume_id,disk_format", row="{},vmdk")
    first = batchexport("run", volumes, *QUICK)
    assert first.exit_code == 3
    assert "2 rows = 0 succeeded + 2 failed" in first.stdout
    assert "most frequent reasons of failed rows:" in first.stdout
    again = batchexport("retry", "v.state", *QUICK, "--dialect", "cinder")
    assert again.exit_code == 0
    assert "2 rows to retry" in again.stderr
    assert "2 rows = 2 succeeded" in again.stdout


def test_retry_where_nothing_failed_is_done_at_once(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    batchexport("run", volumes, *QUICK)
    result = batchexport("retry", "volumes.state", *QUICK, "--skipped", "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_a_job_file_names_list_state_and_cloud(batchexport: Callable[..., Result]) -> None:
    write_list(Path("volumes.csv"), 1)
    Path("job.toml").write_text(
        '[job]\nlist = "volumes.csv"\nstate = "night.state"\n[cloud]\nname = "sandbox"\n'
        '[limits]\npoll_interval = "0.1s"\n'
    )
    result = batchexport("run", "job.toml")
    assert result.exit_code == 0
    with StateReader(Path("night.state")) as reader:
        assert reader.run.rows == 1


def test_the_cloud_of_the_variable_may_be_the_practice_cloud(batchexport: Callable[..., Result]) -> None:
    volumes = write_list(Path("volumes.csv"), 1)
    result = batchexport("run", volumes, *QUICK[2:], env={"OS_CLOUD": "sandbox"})
    assert result.exit_code == 0


def test_a_dry_run_sends_and_writes_nothing(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    before = sorted(Path().iterdir())
    result = batchexport("run", volumes, *QUICK, "--dry-run", "--disk-format", "raw")
    assert result.exit_code == 0
    assert "would export 3 volumes of volumes.csv" in result.stdout
    assert "cloud: sandbox" in result.stdout
    assert "limits: no request limit, 40 exports at once" in result.stdout
    assert "state file: volumes.state (would be made)" in result.stdout
    assert sorted(Path().iterdir()) == before


def test_a_dry_run_tells_of_a_state_file_that_is_there(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    batchexport("run", volumes, *QUICK)
    result = batchexport("run", volumes, "-n")
    assert "(there already, and belongs to the sandbox: would resume" in result.stdout
    assert "cloud: by the OS_ variables" in result.stdout
    assert "limits: 5 requests/s" in result.stdout


@pytest.mark.parametrize("words", [["validate"], ["run"], ["run", "--dry-run"]], ids=" ".join)
def test_a_broken_list_is_told_whole_on_stderr_and_nothing_is_started(
    batchexport: Callable[..., Result], words: str
) -> None:
    Path("broken.csv").write_text("volume_id,force\nvol-7,maybe\nvol-8,yes\n")
    result = batchexport(*words, "broken.csv")
    assert result.exit_code == 2
    assert result.stdout == ""
    head, *lines = result.stderr.splitlines()
    assert "broken.csv: 3 problems, nothing was started" in head
    assert [line.split(":")[0] for line in lines] == [
        "  line 2, volume_id",
        "  line 2, force",
        "  line 3, volume_id",
    ]
    assert not Path("broken.state").exists()


def test_a_good_list_is_told_on_stdout(batchexport: Callable[..., Result], volumes: dict[str, Any]) -> None:
    result = batchexport("validate", volumes)
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "volumes.csv: 3 rows, no problems\n",
        "",
    )


def test_validate_reads_the_list_of_a_job_file(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    Path("job.toml").write_text('[job]\nlist = "volumes.csv"\n')
    assert batchexport("validate", "job.toml").stdout.splitlines() == [
        "job.toml: no problems in the job file",
        "volumes.csv: 3 rows, no problems",
    ]


def test_validate_goes_by_the_rules_of_a_dialect(batchexport: Callable[..., Result]) -> None:
    volumes = write_list(Path("v.csv"), 1, header="volume_id,disk_format", row="{},zvhd2")
    assert batchexport("validate", volumes, "--dialect", "evs").exit_code == 0
    assert batchexport("validate", volumes, "--dialect", "cinder").exit_code == 2


def test_image_settings_that_changed_are_refused_with_5(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    batchexport("run", volumes, *QUICK, "--no-wait")
    for words in ((), ("--dry-run",)):
        result = batchexport("run", volumes, *QUICK, "--disk-format", "raw", *words)
        assert result.exit_code == 5
        assert result.stdout == ""
        assert "hint:" in result.stderr


def test_what_is_no_state_file_is_refused_with_5(batchexport: Callable[..., Result]) -> None:
    Path("x.state").write_text("hello")
    assert batchexport("status", "x.state").exit_code == 5
    assert Path("x.state").read_text() == "hello"


def test_a_state_file_that_is_not_there_is_a_usage_error(batchexport: Callable[..., Result]) -> None:
    assert batchexport("status", "no.state").exit_code == 2


def test_a_cloud_that_nobody_defined_is_a_setting_to_mend(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    result = batchexport("run", volumes, "--os-cloud", "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_a_wrong_password_ends_the_run_with_6_and_shows_no_password(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    Path("clouds.yaml").write_text(
        "clouds: {east: {auth: {auth_url: 'http://127.0.0.1:9/v3', username: u, project_name: p}}}"
    )
    words = ("run", volumes, "--os-cloud", "east", "--os-password", "hunter2", "-vv")
    result = batchexport(*words, env={"OS_CLIENT_CONFIG_FILE": "clouds.yaml"})
    assert result.exit_code == 6
    assert "hunter2" not in result.output
    assert "3 to do" in result.stdout


def test_status_and_report_read_what_a_run_left(
    batchexport: Callable[..., Result], volumes: dict[str, Any]
) -> None:
    batchexport("run", volumes, *QUICK)
    assert SUM_OF_THREE in batchexport("status", "volumes.state").stdout
    assert json.loads(batchexport("status", "volumes.state", "-f", "json").stdout)["succeeded"] == 3
    assert SUM_OF_THREE in batchexport("report", "volumes.state").stdout
    assert len(json.loads(batchexport("report", "volumes.state", "-f", "json").stdout)["jobs"]) == 3
    only_failed = batchexport("report", "volumes.state", "-f", "csv", "--only", "failed").stdout
    assert len(only_failed.splitlines()) == 1


def test_a_csv_report_is_a_list_to_run(batchexport: Callable[..., Result], volumes: dict[str, Any]) -> None:
    batchexport("run", volumes, *QUICK)
    Path("again.csv").write_text(batchexport("report", "volumes.state", "-f", "csv").stdout)
    assert batchexport("validate", "again.csv").stdout == "again.csv: 3 rows, no problems\n"

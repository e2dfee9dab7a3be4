import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import Result

from batchexport.app.schedule import host_zone, this_program
from batchexport.cli.schedule import schedule
from tests.cli.lists import write_list

NIGHTLY = """
[job]
list = "volumes.csv"
state_dir = "nights"
[window]
hours = "22:00-06:00"
time_zone = "Europe/Berlin"
"""


@pytest.fixture
def job_path(tmp_path: Path) -> Any:
    path = tmp_path / "nightly.toml"
    path.write_text(NIGHTLY)
    return path


def test_next_shows_starts_here_and_in_utc(batchexport: Callable[..., Result], job_path: Any) -> None:
    result = batchexport("schedule", "next", job_path, "--count", 3)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("nightly.toml: ") and " 22:00 CE" in line and "UTC)" in line for line in lines)
    assert result.stderr == ""


def test_next_warns_of_times_that_a_clock_change_skips_or_doubles(
    batchexport: Callable[..., Result], job_path: Any
) -> None:
    job_path.write_text(NIGHTLY + '[schedule]\ncron = "30 2 * * *"\n')
    stderr = batchexport("schedule", "next", job_path).stderr
    assert "02:30 does not exist, for the clocks change: the start is at" in stderr
    assert "02:30 comes twice" in stderr


def test_next_warns_of_starts_while_the_window_is_closed(
    batchexport: Callable[..., Result], job_path: Any
) -> None:
    job_path.write_text(NIGHTLY + '[schedule]\ncron = "0 12 * * *"\n')
    stderr = batchexport("schedule", "next", job_path, "--count", 2).stderr
    assert stderr.count("the window is closed at") == 2


@pytest.mark.parametrize("command", [("next",), ("emit", "cron"), ("run",)])
def test_a_job_file_without_a_time_is_refused(
    batchexport: Callable[..., Result], job_path: Any, command: str
) -> None:
    job_path.write_text('[job]\nlist = "volumes.csv"\n')
    result = batchexport("schedule", *command, job_path)
    assert result.exit_code == 2
    assert "no time to start at" in result.stderr
    assert "[schedule]" in result.stderr


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("systemd", ["OnCalendar=*-*-* 22:00:00 Europe/Berlin", "SuccessExitStatus=75", "Persistent=true"]),
        ("cron", ["flock -n"]),
        ("kubernetes", ['timeZone: "Europe/Berlin"', "concurrencyPolicy: Forbid", 'image: "own:1"']),
    ],
)
def test_emit_prints_what_starts_the_job(
    batchexport: Callable[..., Result], job_path: Any, kind: type[Any], words: str
) -> None:
    result = batchexport("schedule", "emit", kind, job_path, "--image", "own:1")
    assert result.exit_code == 0
    assert all(word in result.stdout for word in [*words, str(job_path)])


def test_emit_writes_files_where_a_folder_is_given(
    batchexport: Callable[..., Result], job_path: Any, tmp_path: Path
) -> None:
    result = batchexport("schedule", "emit", "systemd", job_path, "-o", tmp_path)
    assert result.exit_code == 0
    assert result.stdout == ""
    names = {"batchexport-nightly.service", "batchexport-nightly.timer"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    assert "wrote" in result.stderr


SCHEDULE = '[schedule]\ncron = "0 22 * * *"\ntime_zone = "UTC"\n'


def a_job(folder: Path, name: str = "nightly.toml") -> Any:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'[job]\nlist = "volumes.csv"\n{SCHEDULE}')
    return path


@pytest.mark.parametrize("kind", ["systemd", "cron", "kubernetes"])
def test_emit_never_replaces_what_starts_another_job(
    batchexport: Callable[..., Result], tmp_path: Path, kind: type[Any]
) -> None:
    units = tmp_path / "units"
    units.mkdir()
    first, second = a_job(tmp_path / "x"), a_job(tmp_path / "y")
    assert batchexport("schedule", "emit", kind, first, "-o", units).exit_code == 0
    before = {path.name: path.read_text() for path in units.iterdir()}
    refused = batchexport("schedule", "emit", kind, second, "-o", units)
    assert refused.exit_code == 2
    assert "already exists and starts another job" in refused.stderr
    assert {path.name: path.read_text() for path in units.iterdir()} == before
    assert batchexport("schedule", "emit", kind, first, "-o", units).exit_code == 0


@pytest.mark.parametrize("kind", ["systemd", "cron", "kubernetes"])
@pytest.mark.parametrize(
    "folder", ["a\n* * * * * touch PWNED #\nUser=nobody\n", "a\u2028b", "a\x1bb", "a\x85b"]
)
def test_a_path_that_could_become_a_line_of_its_own_is_refused(
    batchexport: Callable[..., Result], tmp_path: Path, kind: type[Any], folder: Path
) -> None:
    result = batchexport("schedule", "emit", kind, a_job(tmp_path / folder))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "rename it, then emit again" in result.stderr


def test_a_job_that_stops_servers_says_so_to_its_units(
    batchexport: Callable[..., Result], tmp_path: Path
) -> None:
    path = a_job(tmp_path / "x")
    path.write_text(path.read_text() + '[servers]\nin_use = "stop"\n[report]\nfolder = "reports"\n')
    unit = batchexport("schedule", "emit", "systemd", path).stdout
    assert "TimeoutStopSec=infinity" in unit
    assert f"ReadWritePaths=-{tmp_path / 'x' / 'reports'}" in unit


@pytest.mark.slow
def test_the_emitted_crontab_line_finds_the_state_file_of_a_run_by_hand(
    batchexport: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as cron does it: by the shell, from another folder."""
    jobs, home = tmp_path / "jobs", tmp_path / "home"
    home.mkdir()
    path = a_job(jobs)
    path.write_text(path.read_text() + '[cloud]\nname = "sandbox"\n[limits]\npoll_interval = "1s"\n')
    write_list(jobs / "volumes.csv", 1)
    monkeypatch.chdir(jobs)
    monkeypatch.setenv("TZ", "UTC")
    assert batchexport("run", "nightly.toml").exit_code == 0
    line = batchexport("schedule", "emit", "cron", "nightly.toml").stdout.splitlines()[-2]
    command = line.split(maxsplit=5)[5].replace("\\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [each.name for each in tmp_path.rglob("*.state")] == ["volumes.state"]


def test_emit_calls_the_program_by_a_path_that_holds_anywhere() -> None:
    assert Path(this_program()[0]).is_absolute()


def test_the_zone_of_the_host_is_that_of_tz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert host_zone(tmp_path) == ZoneInfo("Asia/Tokyo")


def test_the_zone_of_the_host_is_what_localtime_links_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST")  # a rule, not a name: it cannot be looked up
    zone_file = tmp_path / "usr/share/zoneinfo/America/Lima"
    zone_file.parent.mkdir(parents=True)
    zone_file.touch()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to(zone_file)
    assert host_zone(tmp_path) == ZoneInfo("America/Lima")


def test_the_zone_of_the_host_is_what_timezone_says_and_else_utc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/timezone").write_text("Europe/Paris\n")
    assert host_zone(tmp_path) == ZoneInfo("Europe/Paris")
    assert host_zone(tmp_path / "empty") == ZoneInfo("UTC")


@pytest.mark.parametrize("command", ["next", "emit", "run"])
def test_every_command_has_help_with_an_example(batchexport: Callable[..., Result], command: str) -> None:
    result = batchexport("schedule", command, "--help")
    assert result.exit_code == 0
    assert f"Examples:\n    batchexport schedule {command}" in result.stdout


@pytest.mark.parametrize("command", list(schedule.commands.values()), ids=lambda command: command.name)
def test_every_option_has_help_and_reads_its_variable(command: click.Command) -> None:
    for option in command.params:
        if isinstance(option, click.Option):
            long_name = next(name for name in option.opts if name.startswith("--"))
            assert option.help
            of_next = long_name in ("--format", "--column", "--sort-column", "--sort-descending")
            own = "EMIT_" if long_name == "--output" else "NEXT_" if of_next else ""
            assert option.envvar == f"BATCHEXPORT_{own}{long_name[2:].upper().replace('-', '_')}"

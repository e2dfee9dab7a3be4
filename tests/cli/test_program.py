import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from batchexport import errors
from batchexport.__main__ import main
from batchexport.cli.options import console_options
from batchexport.cli.program import Program
from batchexport.lists import Problem
from batchexport.model import NO_OPTIONS
from tests.cli.lists import write_list
from tests.report.state_files import HERE, build


def ending_with(error: BaseException, *words: Any) -> Any:
    """The result of a program whose only command raises this."""

    @click.command()
    @console_options
    def fail() -> None:
        raise error

    # This program has no option for what holds for every test.
    environment = {"BATCHEXPORT_SIGN_IN_TIMEOUT": None}
    return CliRunner(env=environment).invoke(Program(commands=[fail]), ["fail", *words])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.BatchExportError, 1),
        (errors.ConfigError, 2),
        (errors.JobListError, 2),
        (errors.StateInUseError, 4),
        (errors.LeaseLostError, 4),
        (errors.StateCorruptError, 5),
        (errors.ListChangedError, 5),
        (errors.RunStoppedError, 6),
        (errors.AuthenticationError, 6),
        (errors.StateWriteError, 74),
    ],
)
def test_an_error_ends_with_its_own_code(kind: type[Any], code: int) -> None:
    result = ending_with(kind("it went wrong", hint="look there"))
    assert result.exit_code == code
    assert result.stderr == "error: it went wrong\nhint: look there\n"
    assert result.stdout == ""


def test_an_error_without_a_hint_is_one_line() -> None:
    assert ending_with(errors.ConfigError("no")).stderr == "error: no\n"


def test_every_problem_of_a_list_is_told_and_the_rest_counted() -> None:
    problems = [Problem(source="a.csv", line=line, field="force", message="is odd") for line in (2, 3)]
    error = errors.JobListError("a.csv: 9 problems, nothing was started", problems=problems, total=9)
    assert ending_with(error).stderr.splitlines()[1:] == [
        "  line 2, force: is odd",
        "  line 3, force: is odd",
        "  … and 7 more",
    ]


def test_an_unexpected_error_is_one_line_and_says_how_to_see_more() -> None:
    result = ending_with(ZeroDivisionError("by zero"))
    assert result.exit_code == 1
    assert result.stderr == (
        "error: unexpected ZeroDivisionError: by zero\nhint: run again with -vv to see where\n"
    )


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), errors.ConfigError("by zero")])
def test_vv_shows_where_an_error_came_from(error: BaseException) -> None:
    result = ending_with(error, "-vv")
    assert "Traceback" in result.stderr
    assert "hint" not in result.stderr


def test_an_interrupt_outside_a_run_ends_with_130() -> None:
    result = ending_with(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [(click.UsageError("how?"), 2), (click.Abort(), 1), (click.exceptions.Exit(7), 7)],
)
def test_clicks_own_ways_to_end_stay_as_they_are(error: BaseException, code: int) -> None:
    assert ending_with(error).exit_code == code


def test_an_unknown_command_is_a_usage_error(batchexport: Callable[..., Result]) -> None:
    assert batchexport("exprot").exit_code == 2


def test_verbosity_may_stand_before_the_command() -> None:
    @click.command()
    def fail() -> None:
        raise ZeroDivisionError

    program = console_options(click.group(cls=Program, commands=[fail])(lambda: None))
    assert "Traceback" in CliRunner().invoke(program, ["-vv", "fail"]).stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "long.state"
    build(path, ((HERE, f"image {number}", NO_OPTIONS) for number in range(5000)))
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-m", "batchexport", "report", str(path)],
        stdout=write_end,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write_end)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_run_whose_reader_went_away_keeps_its_exit_code() -> None:
    write_list(Path("v.csv"), 1, header="volume_id,disk_format", row="{},vmdk")
    read_end, write_end = os.pipe()
    os.close(read_end)
    words = [sys.executable, "-m", "batchexport", "run", "v.csv", "--os-cloud", "sandbox"]
    result = subprocess.run(words, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert result.returncode == 3
    assert b"Broken pipe" not in result.stderr


def test_the_programs_entry_point_ends_with_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["anything", "status", "no.state"])
    try:
        with pytest.raises(SystemExit) as end:
            main()
        with pytest.raises(SystemExit) as told:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (end.value.code, told.value.code) == (2, 143)
    assert "no.state: no such state file" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_that_cannot_be_written_does_not_change_the_exit_code() -> None:
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "batchexport", "validate", "no.csv"]
        assert subprocess.run(words, stderr=full, check=False).returncode == 2

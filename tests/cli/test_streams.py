"""The program ends with its own words and exit code whatever its streams are."""

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.lists import write_list

PROGRAM = [sys.executable, "-m", "batchexport"]
LATIN = {"PYTHONIOENCODING": "latin-1"}


def called(*words: Any, shell: str = "", **options: Any) -> Any:
    """The program, with redirections by a shell."""
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *PROGRAM, *map(str, words)]
    options = {"capture_output": True, "text": True, "timeout": 60, "errors": "replace", **options}
    env = {**os.environ, **options.pop("env", {})}
    return subprocess.run(command, env=env, check=False, **options)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]], ids=" ".join)
def test_a_terminal_without_a_character_shows_the_help(words: str) -> None:
    result = called(*words, env=LATIN)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    assert "--help" in result.stdout


def test_a_terminal_without_a_character_changes_no_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("volume_id,volume_name\nvol-数,x\n")
    result = called("validate", path, env=LATIN)
    assert result.returncode == 2
    assert 'volume_id: "vol-?" is not a UUID' in result.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_ends_nothing(tmp_path: Path, closed: Any) -> None:
    path = write_list(tmp_path / "v.csv", 1)
    result = called("run", path, "--os-cloud", "sandbox", shell=closed, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_closed_standard_input_is_an_empty_list() -> None:
    result = called("validate", "-", shell="<&-")
    assert result.returncode == 2
    assert "is empty" in result.stderr


@pytest.mark.parametrize("words", [["--help"], ["validate", "v.csv"]], ids=" ".join)
def test_output_that_cannot_be_written_is_told(tmp_path: Path, words: str) -> None:
    write_list(tmp_path / "v.csv", 1)
    result = called(*words, shell=">/dev/full", cwd=tmp_path)
    assert result.returncode == 74
    assert "error: cannot write to standard output: No space left on device" in result.stderr


def test_a_summary_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    path = write_list(tmp_path / "v.csv", 1)
    result = called("run", path, "--os-cloud", "sandbox", shell=">/dev/full", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("files", [9, 12, 20, 31])
def test_too_few_files_are_told_before_anything_begins(files: Any) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    result = called("doctor", "--os-cloud", "sandbox", preexec_fn=few_files)
    assert result.returncode == 2
    assert f"may open {files} files" in result.stderr
    assert "ulimit -n" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "v.csv", "--max-exports", "abc"], "error: --max-exports"),
        (["run", "v.csv", "--nothing"], "no such option"),
        (["--nothing"], "no such option"),
        (["rnu"], "no such command"),
        (["run"], "missing argument"),
    ],
    ids=str,
)
def test_a_slip_on_the_command_line_is_told_in_one_voice(
    batchexport: Callable[..., Result], words: str, said: Any
) -> None:
    result = batchexport(*words)
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert said.lower() in error.lower()
    assert "--help` shows the usage" in hint


def test_no_words_at_all_show_the_help(batchexport: Callable[..., Result]) -> None:
    result = batchexport()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("stream", "options"), [("stdout", ("--events", "-")), ("stderr", ("-vv",))])
def test_a_reader_that_takes_nothing_holds_no_run_up(
    tmp_path: Path, stream: str, options: tuple[str, ...]
) -> None:
    path = write_list(tmp_path / "v.csv", 20)
    words = ("run", path, "--os-cloud", "sandbox", "--requests-per-second", "0", "--poll-interval", "0.1")
    reader, end = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: end}
    run = subprocess.run([*PROGRAM, *words, *options], cwd=tmp_path, timeout=120, check=False, **streams)
    os.close(end)
    os.close(reader)
    assert run.returncode == 0
    result = called("status", tmp_path / "v.state")
    assert "20 rows = 20 succeeded" in result.stdout

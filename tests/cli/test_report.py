import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.report.runs import EVENING, make_run


@pytest.fixture(autouse=True)
def nights() -> None:
    async def make() -> None:
        await make_run(Path("n1.state"), 4, seed=1)
        await make_run(Path("n2.state"), 4, seed=2, begins_at=EVENING + 86400)
        await make_run(Path("other.state"), 4, seed=3, list_name="other.csv")

    asyncio.run(make())


@pytest.mark.parametrize(("form", "begin"), [("html", "<!DOCTYPE html>\n"), ("markdown", "# nightly.csv: ")])
def test_a_night_to_read_stands_beside_those_before_it(
    batchexport: Callable[..., Result], form: str, begin: str
) -> None:
    result = batchexport("report", "n2.state", "-f", form)
    assert result.exit_code == 0
    assert result.stdout.startswith(begin)
    assert "This run and earlier ones" in result.stdout
    assert "This run and earlier ones" not in batchexport("report", "n1.state", "-f", form).stdout


def test_other_nights_are_named_with_compare(batchexport: Callable[..., Result]) -> None:
    result = batchexport(
        "report", "n1.state", "-f", "markdown", "--compare", "other.state", "--compare", "n2.state"
    )
    assert result.stdout.count("| 2026-09-2") == 3


def test_a_report_is_written_to_a_file(batchexport: Callable[..., Result]) -> None:
    result = batchexport("report", "n1.state", "-f", "html", "-o", "report.html")
    assert (result.exit_code, result.output) == (0, "")
    assert Path("report.html").read_text() == batchexport("report", "n1.state", "-f", "html").stdout


def test_a_file_that_cannot_be_written_is_named(batchexport: Callable[..., Result]) -> None:
    result = batchexport("report", "n1.state", "-o", "no/such/folder.txt")
    assert result.exit_code == 2
    assert "error: cannot write the report to no/such/folder.txt: No such file" in result.stderr


def test_no_state_file_is_written_over(batchexport: Callable[..., Result]) -> None:
    before = Path("n2.state").read_bytes()
    Path("link").symlink_to("n2.state")
    for output in ("n1.state", "n2.state", "link"):
        result = batchexport("report", "n1.state", "-o", output)
        assert result.exit_code == 2
        assert f"cannot write the report to {output}: it is a state file" in result.stderr
    assert Path("n2.state").read_bytes() == before
    assert batchexport("status", "n1.state").exit_code == 0


def test_rows_cannot_be_chosen_for_a_whole_night(batchexport: Callable[..., Result]) -> None:
    result = batchexport("report", "n1.state", "-f", "html", "--only", "failed")
    assert result.exit_code == 2
    assert "--only chooses rows" in result.stderr


def test_what_is_compared_must_be_a_state_file(batchexport: Callable[..., Result]) -> None:
    Path("x.state").write_text("hello")
    assert batchexport("report", "n1.state", "-f", "html", "--compare", "x.state").exit_code == 5


def test_a_dash_as_output_is_stdout(batchexport: Callable[..., Result]) -> None:
    result = batchexport("report", "n1.state", "-f", "html", "-o", "-")
    assert result.stdout == batchexport("report", "n1.state", "-f", "html").stdout
    assert not Path("-").exists()


def test_a_pipe_that_nobody_reads_is_said_and_stays(batchexport: Callable[..., Result]) -> None:
    os.mkfifo("pipe")
    result = batchexport("report", "n1.state", "-o", "pipe")
    assert result.exit_code == 2
    assert "error: cannot write the report to pipe: no process reads from this pipe" in result.stderr
    assert Path("pipe").is_fifo()

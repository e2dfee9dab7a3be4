"""`ctl`: a run that works is talked to from another process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.model import JobState
from batchexport.store import StateReader
from tests.cli.test_processes import PROGRAM, exporting, running, wait_for
from tests.cli.test_run import QUICK
from tests.report.state_files import build_mixed

SLOW = [f"0b1d3c5e-0000-4000-8000-{number:012}" for number in range(12)]


def ask(*words: str) -> Any:
    done = subprocess.run(
        [*PROGRAM, "ctl", "slow.state", *words, "-f", "json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def looked_at(*words: str) -> str:
    """What `status` prints first."""
    with subprocess.Popen(
        [*PROGRAM, "status", "slow.state", *words], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = []
        for line in child.stdout:
            lines.append(line)
            if line.startswith(("paused", "\n")):
                break
        child.terminate()
    return "".join(lines)


def rows(state: JobState) -> int:
    with StateReader(Path("slow.state")) as reader:
        return sum(tally.jobs for tally in reader.overview().tallies if tally.state is state)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_is_paused_continued_with_other_limits_and_drained() -> None:
    Path("slow.csv").write_text("\n".join(["volume_id", *SLOW]) + "\n")
    with running("run", "slow.csv", *QUICK, "--max-exports", "1") as child:
        wait_for(exporting, seconds=150)
        assert ask("pause")["is_paused"] is True
        for watching in ([], ["--watch"]):
            assert "paused by ctl: nothing new begins" in looked_at(*watching)
        wait_for(lambda: rows(JobState.EXPORTING) == 0, seconds=150)
        waiting = rows(JobState.PENDING)
        assert waiting, "what was under way has ended, and nothing else has begun"
        assert ask("limits", "--max-exports", "3")["max_exports"] == 3
        assert ask("order", "--to", "list")["order"] == "list"
        assert rows(JobState.PENDING) == waiting
        assert ask("continue")["is_paused"] is False
        wait_for(lambda: rows(JobState.EXPORTING) == 3, seconds=150)
        assert ask("drain")["is_draining"] is True
        _, stderr = child.communicate(timeout=30)
    assert child.returncode == 75, stderr
    assert "asked by ctl: paused: nothing new begins" in stderr
    assert [path.name for path in Path().iterdir() if "control" in path.name] == []


async def test_where_no_run_works_it_says_so(batchexport: Callable[..., Result]) -> None:
    await build_mixed(Path("night.state"))
    result = batchexport("ctl", "night.state", "pause")
    assert result.exit_code == 5
    assert "no run is working on it" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["limits"],
        ["pause", "--max-exports", "3"],
        ["limits", "--max-exports", "0"],
        ["order"],
        ["show", "--to", "size"],
        ["cancel"],
        ["explode"],
    ],
)
async def test_what_does_not_go_together_is_refused(
    batchexport: Callable[..., Result], words: list[str]
) -> None:
    await build_mixed(Path("night.state"))
    assert batchexport("ctl", "night.state", *words).exit_code == 2

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = [
    "aiohttp",
    "keystoneauth1",
    "openstack",
    "tqdm",
    "sqlite3",
    "asyncio_throttle",
    "prometheus_client",
]
SCRIPT = f"""
import sys
from batchexport.cli.program import app
try:
    app.main(sys.argv[1:], prog_name="batchexport")
except SystemExit as end:
    assert not end.code, end.code
print(" ".join(name for name in {[*HEAVY, "msgspec"]} if name in sys.modules), file=sys.stderr)
"""


def _loaded(*words: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True
    )
    return result.stderr.split()


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_asking_for_help_loads_nothing_that_is_not_needed(word: str) -> None:
    assert _loaded(word) == []


@pytest.mark.parametrize("words", [["run", "--help"], ["completion", "zsh"]], ids=" ".join)
def test_help_with_a_command_loads_only_what_its_records_are_made_of(words: str) -> None:
    assert _loaded(*words) == ["msgspec"]


def test_the_package_is_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "batchexport", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("batchexport, version ")


def test_a_shell_completes_commands() -> None:
    variables = {"_BATCHEXPORT_COMPLETE": "bash_complete", "COMP_WORDS": "batchexport rep", "COMP_CWORD": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "batchexport"],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=True,
    )
    assert result.stdout.split() == ["plain,report"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("batchexport run v", ["file,v"]),
        ("batchexport plan ", ["file,"]),
        ("batchexport validate v", ["file,v"]),
        ("batchexport sandbox --list v", ["file,v"]),
        ("batchexport status ", ["plain,v.state"]),
        ("batchexport status w", ["file,w"]),
        ("batchexport run v.csv --os-cloud ", ["plain,prod", "plain,sandbox"]),
        ("batchexport doctor --os-cloud p", ["plain,prod"]),
    ],
)
def test_a_shell_completes_what_a_command_takes(tmp_path: Path, words: str, offered: Any) -> None:
    (tmp_path / "v.state").write_text("")
    (tmp_path / "v.csv").write_text("")
    (tmp_path / "clouds.yaml").write_text("clouds:\n  prod: {}\n")
    variables = {
        "_BATCHEXPORT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml"),
    }
    result = subprocess.run(
        [sys.executable, "-m", "batchexport"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **variables},
        check=True,
    )
    assert result.stdout.splitlines() == offered

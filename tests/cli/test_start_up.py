import os
import subprocess
import sys

import pytest

HEAVY = [
    "aiohttp",
    "keystoneauth1",
    "openstack",
    "msgspec",
    "tqdm",
    "sqlite3",
    "asyncio_throttle",
    "prometheus_client",
]
SCRIPT = f"""
import sys
from batchexport.cli.app import app
try:
    app.main(sys.argv[1:], prog_name="batchexport")
except SystemExit as end:
    assert not end.code, end.code
print(" ".join(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["run", "--help"], ["completion", "zsh"]], ids=" ".join
)
def test_asking_for_help_loads_nothing_heavy(words):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == ""


def test_the_package_is_a_program():
    result = subprocess.run(
        [sys.executable, "-m", "batchexport", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("batchexport, version ")


def test_a_shell_completes_commands():
    variables = {"_BATCHEXPORT_COMPLETE": "bash_complete", "COMP_WORDS": "batchexport re", "COMP_CWORD": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "batchexport"],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=True,
    )
    assert result.stdout.split() == ["plain,resume", "plain,retry", "plain,report", "plain,reconcile"]

import subprocess
import sys
from pathlib import Path

import pytest


def test_a_type_checker_knows_the_library() -> None:
    """Also that it refuses what is no use of it: an unused `type: ignore` is an error."""
    pytest.importorskip("mypy")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/library/typing_examples.py"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout

"""The README's nights, as somebody follows them: a new environment, an empty folder, its commands."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> Any:
    """The commands under this comment."""
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no block {name}"
    return found[1]


def installed_into(folder: Path) -> Any:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install: list[str | Path] = [
        folder / "bin" / "pip",
        "install",
        "-q",
        "-c",
        ROOT / "constraints.txt",
        ROOT,
    ]
    made = subprocess.run(install, capture_output=True, text=True, check=False)
    if made.returncode and "No matching distribution" in made.stderr:
        pytest.skip(f"pip finds no packages here: {made.stderr.splitlines()[-1]}")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The variables of a shell with batchexport on its path, installed from this clone.

    Into BATCHEXPORT_TEST_ENVIRONMENT where somebody did so already, which takes most of the time.
    """
    made = os.environ.get("BATCHEXPORT_TEST_ENVIRONMENT")
    folder = Path(made) if made else installed_into(tmp_path_factory.mktemp("new") / "venv")
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "COV_CORE_SOURCE", "COV_CORE_CONFIG", "COV_CORE_DATAFILE")
    # A cloud in the environment comes before that of a job file: here there is to be none.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in left_out and not name.startswith(("OS_", "BATCHEXPORT_"))
    }
    return kept | {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder.parent)}


def until(holds: Callable[..., Any], process: subprocess.Popen[str], *, within_s: int = 150) -> None:
    """Wait for what the process is to bring about."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_schedule_runs_and_there_is_a_report_in_the_morning(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    def shell(commands: Any) -> Any:
        return subprocess.Popen(
            ["sh", "-e", "-c", commands],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    evening = shell(block("in the evening"))
    try:
        until(lambda: list(tmp_path.glob("reports/nightly-*.html")), evening)
    finally:
        os.killpg(evening.pid, signal.SIGINT)
        stdout, stderr = evening.communicate(timeout=30)
    assert "2 rows, no problems" in stdout
    assert "nightly.toml: next start" in stderr

    morning = shell(block("in the morning"))
    stdout, stderr = morning.communicate(timeout=30)
    assert morning.returncode == 0, stderr
    assert re.search(r"nightly-\S+\.state .* done", stdout)
    for volume_id in ("16369c5d-384d-4e64-b37a-56d898769362", "9d6e7f80-0a1b-4c2d-8e3f-405162738495"):
        assert re.search(rf"{volume_id} +succeeded", stdout)

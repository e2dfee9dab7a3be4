"""Whole runs against EVS: the sandbox in a process of its own, its two clouds in one list."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from tests.cli.lists import quick_ids

ENVIRONMENT = {"OS_CLIENT_CONFIG_FILE": "clouds.yaml"}


@pytest.fixture(autouse=True)
def evs() -> Iterator[Any]:
    with evs_cloud():
        yield


@contextmanager
def evs_cloud() -> Iterator[Any]:
    words = ["sandbox", "--profile", "evs", "--time-scale", "0", "--write-clouds-yaml", "clouds.yaml", "-q"]
    program = [sys.executable, "-m", "batchexport", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        child.stdout.readline()
        try:
            yield
        finally:
            child.terminate()
            child.communicate(timeout=20)


def test_token_and_access_key_export_one_list(batchexport: Callable[..., Result]) -> None:
    rows = [
        f"{volume},{cloud}"
        for volume, cloud in zip(quick_ids(6), ["sandbox", "sandbox-key"] * 3, strict=True)
    ]
    Path("v.csv").write_text("\n".join(["volume_id,cloud", *rows, ""]))
    result = batchexport("run", "v.csv", "--poll-interval", "0.1", env=ENVIRONMENT)
    assert result.exit_code == 0, result.output
    report = batchexport("report", "v.state", "--format", "csv").stdout
    assert report.count("succeeded") == 6


def test_a_wrong_secret_ends_the_run_with_what_to_check(batchexport: Callable[..., Result]) -> None:
    text = Path("clouds.yaml").read_text()
    Path("clouds.yaml").write_text(text.replace("secret_key: sandbox", "secret_key: wrong"))
    Path("v.csv").write_text("\n".join(["volume_id", *quick_ids(6), ""]))
    result = batchexport("run", "v.csv", "--os-cloud", "sandbox-key", env=ENVIRONMENT)
    assert result.exit_code == 6
    assert "verify aksk signature fail" in result.stderr
    assert "access_key and secret_key belong together" in result.stderr


def test_keys_given_as_flags_win_over_those_of_the_file(batchexport: Callable[..., Result]) -> None:
    entry = yaml.safe_load(Path("clouds.yaml").read_text())["clouds"]["sandbox-key"]
    Path("clouds.yaml").write_text(
        Path("clouds.yaml").read_text().replace("secret_key: sandbox", "secret_key: wrong")
    )
    Path("v.csv").write_text("\n".join(["volume_id", *quick_ids(2), ""]))
    keys = ["--os-access-key", entry["access_key"], "--os-secret-key", entry["secret_key"]]
    result = batchexport("run", "v.csv", "--os-cloud", "sandbox-key", *keys, env=ENVIRONMENT)
    assert result.exit_code == 0, result.output

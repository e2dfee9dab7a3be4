"""The page about several machines: its commands, from nothing to three workers, one of which is killed."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import wait_until
from tests.store.postgres.server import Server, programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

PAGE = Path(__file__).parents[2] / "docs/how-to/fleet.md"


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, whose `bin` runs PostgreSQL's programs as another user where it is root who tests."""
    path = Path(tempfile.mkdtemp(prefix="batchexport-fleet-"))
    (path / "bin").mkdir()
    if os.geteuid() == 0:
        found = pwd.getpwnam("nobody")
        os.chown(path, found.pw_uid, found.pw_gid)
        for name in ("initdb", "pg_ctl"):
            ids = f"--reuid={found.pw_uid} --regid={found.pw_gid} --clear-groups"
            (path / "bin" / name).write_text(f'#!/bin/sh\nexec setpriv {ids} {programs()}/{name} "$@"\n')
            (path / "bin" / name).chmod(0o755)
    yield path
    for pid_file in path.glob("db/postmaster.pid"):
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)
    shutil.rmtree(path, ignore_errors=True)


def test_the_commands_of_the_page_make_a_fleet_that_outlives_a_worker(postgres: Server, folder: Path) -> None:
    (block,) = re.findall(r"<!-- a fleet on one machine -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    environment = {
        "PATH": f"{folder}/bin:{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "BATCHEXPORT_DATABASE": "postgresql://me@127.0.0.1:5499/postgres",
        "OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml"),
    }

    def call(*words: str) -> str:
        done = subprocess.run(
            ["batchexport", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with (folder / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "-c", f"{block}\nwait"],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        wait_until((folder / "march.csv").exists)

        def holders() -> list[dict[str, Any]]:
            try:
                return [each for each in json.loads(call("workers", "-f", "json")) if each["targets"]]
            except AssertionError:  # the database is not there yet
                return []

        wait_until(holders, 150)
        first = holders()[0]
        os.kill(first["pid"], signal.SIGKILL)
        wait_until(lambda: any(each["worker"] != first["worker"] for each in holders()), 120)
        database = environment["BATCHEXPORT_DATABASE"]
        wait_until(lambda: json.loads(call("status", database, "-f", "json"))[0]["standing"] == "ended", 300)
        assert "40 rows = 40 succeeded" in call("status", "march")
    except AssertionError as error:
        raise AssertionError((folder / "said").read_text()) from error
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()

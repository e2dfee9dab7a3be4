"""Exports that fail, exports that are slow, and services that die, on a real cloud."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openstack
import pytest

FAST = ("--disk-format", "qcow2", "--poll-interval", "2", "--requests-per-second", "20")


def write_list(folder: Path, ids: list[str]) -> Path:
    (folder / "list.csv").write_text("volume_id\n" + "".join(f"{volume_id}\n" for volume_id in ids))
    return folder / "list.csv"


def jobs(batchexport: Callable[..., Any]) -> Any:
    return json.loads(batchexport("report", "list.state", "-f", "json").stdout)["jobs"]


def images_of(cloud: Any, volume_id: str) -> Any:
    return [image for image in cloud.image.images() if volume_id in image.name]


def until(condition: Callable[[], bool], what: str, seconds: int = 120) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.2)


def start(tmp_path: Path, *words: Any) -> Any:
    command = [sys.executable, "-m", "batchexport", *map(str, words)]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def exporting(batchexport: Callable[..., Any], tmp_path: Path) -> Any:
    if not (tmp_path / "list.state").exists():
        return 0
    return json.loads(batchexport("status", "list.state", "-f", "json").stdout)["exporting"]


def test_a_failed_export_fails_in_the_words_of_the_cloud_after_its_last_attempt(
    cloud: Any, troubled: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    ids = troubled(3, "--fail", "no space on the back end")
    done = batchexport("run", write_list(tmp_path, ids), *FAST, "--retries", 1, check=False)
    assert done.returncode == 3, done.stderr
    for row in jobs(batchexport):
        assert (row["state"], row["attempts"]) == ("failed", 2)
        assert "failed to upload volume to image" in row["reason"].lower()
    assert all(images_of(cloud, volume_id) == [] for volume_id in ids)


def test_a_run_killed_during_slow_exports_carries_on_with_one_image_each(
    cloud: Any, troubled: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    ids = troubled(5, "--delay", "10")
    listed = write_list(tmp_path, ids)
    process = start(tmp_path, "run", listed, *FAST)
    until(lambda: exporting(batchexport, tmp_path) >= 3, "three exports under way")
    process.send_signal(signal.SIGKILL)
    process.wait()
    batchexport("run", listed, *FAST, "--settle-time", 5)
    assert {row["state"] for row in jobs(batchexport)} == {"succeeded"}
    assert [len(images_of(cloud, volume_id)) for volume_id in ids] == [1] * 5


def test_exports_orphaned_by_a_dead_volume_service_are_made_again_and_cleaned_up(
    cloud: Any, troubled: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    restart = os.environ.get("BATCHEXPORT_TEST_RESTART")
    admin = os.environ.get("BATCHEXPORT_TEST_ADMIN")
    if not (restart and admin):
        pytest.skip("needs a command that restarts Cinder's volume service, and an administrator's cloud")
    ids = troubled(3, "--delay", "20")
    listed = write_list(tmp_path, ids)
    process = start(tmp_path, "run", listed, *FAST, "--retries", 3)
    until(lambda: exporting(batchexport, tmp_path) == 3, "three exports under way")
    subprocess.run([restart], check=True, stdin=subprocess.DEVNULL)
    # A service that was killed leaves its volumes uploading; an administrator frees them by hand.
    block_storage = openstack.connect(cloud=admin).block_storage
    for volume_id in ids:
        block_storage.reset_volume_status(volume_id, "available", None, None)
    process.wait(600)
    rows = jobs(batchexport)
    assert [row["state"] for row in rows] == ["succeeded"] * 3, rows
    assert all(row["attempts"] >= 2 for row in rows)
    batchexport("cleanup", "list.state", "--yes")
    for row in rows:
        (image,) = images_of(cloud, row["volume_id"])
        assert (image.id, image.status) == (row["image_id"], "active")

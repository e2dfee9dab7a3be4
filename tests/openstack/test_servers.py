"""Servers that are stopped for the export of their volumes, on a real Nova, Cinder and Glance."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QUICK = ("--disk-format", "raw", "--poll-interval", "1", "--requests-per-second", "20")
RUN = (*QUICK, "--in-use", "stop", "--yes")


@pytest.fixture(autouse=True)
def force_is_heeded(reconfigure: Any) -> None:
    """A stopped server keeps its volumes: they are exported with force, which Cinder ignores as delivered."""
    reconfigure(STACK_FORCE_UPLOAD="true")


def write_list(folder: Path, ids: list[str]) -> Path:
    (folder / "list.csv").write_text("volume_id\n" + "".join(f"{volume_id}\n" for volume_id in ids))
    return folder / "list.csv"


def states(batchexport: Callable[..., Any]) -> Any:
    rows = json.loads(batchexport("report", "list.state", "-f", "json").stdout)["jobs"]
    return {row["volume_id"]: row["state"] for row in rows}


def images_of(cloud: Any, volume_id: str) -> Any:
    return [image.status for image in cloud.image.images() if volume_id in image.name]


def actions_on(compute: Any, server_id: str) -> Any:
    """What was done to the server, oldest first."""
    done = [action.action for action in compute.server_actions(server_id)]
    return [action for action in reversed(done) if action in ("start", "stop")]


def until(condition: Callable[[], bool], what: str, seconds: int = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.2)


def test_a_server_is_down_once_for_all_its_volumes_and_up_afterwards(
    cloud: Any,
    compute: Any,
    few_volumes: Any,
    make_server: Any,
    batchexport: Callable[..., Any],
    tmp_path: Path,
) -> None:
    one, two, free = few_volumes(3)
    server_id = make_server([one, two])
    batchexport("run", write_list(tmp_path, [one, free, two]), *RUN)
    assert set(states(batchexport).values()) == {"succeeded"}
    assert [images_of(cloud, volume_id) for volume_id in (one, two, free)] == [["active"]] * 3
    assert compute.get_server(server_id).status == "ACTIVE"
    assert actions_on(compute, server_id) == ["stop", "start"]


def test_a_server_that_was_down_before_stays_down(
    cloud: Any,
    compute: Any,
    few_volumes: Any,
    make_server: Any,
    batchexport: Callable[..., Any],
    tmp_path: Path,
) -> None:
    (volume_id,) = few_volumes(1)
    server_id = make_server([volume_id])
    compute.stop_server(server_id)
    compute.wait_for_server(compute.get_server(server_id), "SHUTOFF", interval=0.5, wait=60)
    batchexport("run", write_list(tmp_path, [volume_id]), *RUN)
    assert states(batchexport) == {volume_id: "succeeded"}
    assert compute.get_server(server_id).status == "SHUTOFF"
    assert actions_on(compute, server_id) == ["stop"]


def test_a_failed_export_leaves_its_server_up(
    cloud: Any,
    compute: Any,
    troubled: Any,
    make_server: Any,
    batchexport: Callable[..., Any],
    tmp_path: Path,
) -> None:
    (volume_id,) = troubled(1, "--fail", "no space on the back end")
    server_id = make_server([volume_id])
    done = batchexport("run", write_list(tmp_path, [volume_id]), *RUN, "--retries", 0, check=False)
    assert done.returncode == 3, done.stderr
    assert states(batchexport) == {volume_id: "failed"}
    assert images_of(cloud, volume_id) == []
    assert compute.get_server(server_id).status == "ACTIVE"
    assert actions_on(compute, server_id) == ["stop", "start"]


def test_a_server_that_a_killed_run_left_down_comes_up_with_the_next(
    cloud: Any,
    compute: Any,
    troubled: Any,
    make_server: Any,
    batchexport: Callable[..., Any],
    tmp_path: Path,
) -> None:
    (volume_id,) = troubled(1, "--delay", "10")
    server_id = make_server([volume_id])
    words = [sys.executable, "-m", "batchexport", "run", str(write_list(tmp_path, [volume_id])), *RUN]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: cloud.block_storage.get_volume(volume_id).status == "uploading", "the export")
    assert compute.get_server(server_id).status == "SHUTOFF"
    process.send_signal(signal.SIGKILL)
    process.wait()
    batchexport("resume", "list.state")
    assert states(batchexport) == {volume_id: "succeeded"}
    assert images_of(cloud, volume_id) == ["active"]
    assert compute.get_server(server_id).status == "ACTIVE"
    assert actions_on(compute, server_id) == ["stop", "start"]

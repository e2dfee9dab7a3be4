"""Looking before and after a run, on real Keystone, Cinder and Glance."""

import csv
import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def few(cloud: Any) -> Iterator[Any]:
    """Three volumes of 1 GiB of our own, removed afterwards with the images made of them."""
    prefix = f"pln-{uuid.uuid4().hex[:8]}"
    storage = cloud.block_storage
    made = [
        storage.create_volume(name=f"{prefix}-{number}", size=1, metadata={"pln": prefix})
        for number in range(3)
    ]
    for volume in made:
        storage.wait_for_status(volume, wait=120)
    ids = [volume.id for volume in made]
    yield prefix, ids
    for image in list(cloud.image.images()):
        if any(volume_id in image.name for volume_id in ids):
            cloud.image.delete_image(image, ignore_missing=True)
    for volume_id in ids:
        storage.delete_volume(volume_id, ignore_missing=True)


def write(path: Path, ids: list[str]) -> Path:
    path.write_text("volume_id\n" + "".join(f"{volume_id}\n" for volume_id in ids))
    return path


def test_discover_plan_run_and_verify_agree(
    cloud: Any, few: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    prefix, ids = few
    found = batchexport("discover", "--name", f"{prefix}-*", "--metadata", f"pln={prefix}").stdout
    rows = list(csv.DictReader(io.StringIO(found)))
    assert sorted(row["volume_id"] for row in rows) == sorted(ids)
    assert {row["status"] for row in rows} == {"available"}
    (tmp_path / "few.csv").write_text(found)

    planned = json.loads(batchexport("plan", "few.csv", "-f", "json", "--disk-format", "raw").stdout)
    (target,) = planned["targets"]
    assert (planned["every_row_can_go"], target["to_export"], target["gib"]) == (True, 3, 3)

    batchexport("run", "few.csv", "--disk-format", "raw", "--requests-per-second", 20)
    verified = json.loads(batchexport("verify", "few.state", "-f", "json").stdout)
    assert verified["passed"] is True
    assert verified["targets"][0]["images"] == verified["targets"][0]["compared_by_hash"] == 3


def test_what_cannot_go_is_told_and_not_sent(
    few: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    missing = str(uuid.uuid4())
    write(tmp_path / "list.csv", [few[1][0], missing])
    planned = batchexport("plan", "list.csv", check=False)
    assert planned.returncode == 3
    assert f"{missing}" in planned.stdout
    done = batchexport("run", "list.csv", "--disk-format", "raw", check=False)
    assert done.returncode == 3
    report = json.loads(batchexport("report", "list.state", "-f", "json").stdout)
    states = {row["volume_id"]: (row["state"], row["code"]) for row in report["jobs"]}
    assert states[missing] == ("failed", "volume_not_found")
    assert states[few[1][0]][0] == "succeeded"


def test_an_image_that_was_removed_is_missed(
    cloud: Any, few: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    write(tmp_path / "list.csv", few[1][:1])
    batchexport("run", "list.csv", "--disk-format", "raw")
    report = json.loads(batchexport("report", "list.state", "-f", "json").stdout)
    cloud.image.delete_image(report["jobs"][0]["image_id"])
    verified = batchexport("verify", "list.state", check=False)
    assert verified.returncode == 3
    assert "the image is gone" in verified.stdout


def test_doctor_finds_the_account_fit(cloud: Any, batchexport: Callable[..., Any]) -> None:
    told = batchexport("doctor").stdout
    assert "ok    sign-in" in told
    assert "dialect cinder" in told

"""The main job on real Keystone, Cinder and Glance."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_fifty_volumes_become_fifty_active_images_with_few_requests(
    cloud: Any, volumes: Any, batchexport: Callable[..., Any], access_log: Any, tmp_path: Path
) -> None:
    listed = tmp_path / "volumes.csv"
    listed.write_text("volume_id\n" + "".join(f"{volume_id}\n" for volume_id in volumes))

    done = batchexport(
        "run", listed, "--disk-format", "qcow2", "--max-exports", 50, "--requests-per-second", 20, "-v"
    )
    report = json.loads(batchexport("report", "volumes.state", "-f", "json").stdout)

    assert "50 succeeded" in done.stdout
    rows = report["jobs"]
    assert sorted(row["volume_id"] for row in rows) == sorted(volumes)
    assert {row["state"] for row in rows} == {"succeeded"}
    for row in rows:
        image = cloud.image.get_image(row["image_id"])
        assert (image.status, image.disk_format, image.name) == ("active", "qcow2", row["image_name"])
    for volume_id in volumes:
        made = [image for image in cloud.image.images() if volume_id in image.name]
        assert len(made) == 1, volume_id
    if access_log is not None:
        reads = [path for method, path in access_log.requests() if method == "GET" and is_a_look(path)]
        assert 0 < len(reads) <= 60, reads


def is_a_look(path: str) -> bool:
    """Whether a GET is a client's look at volumes or image lists, made by this test's run."""
    return "limit=1000" in path or "/volumes/" in path


def test_the_report_is_a_list_and_running_again_exports_nothing_twice(
    cloud: Any, volumes: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    listed = tmp_path / "two.csv"
    listed.write_text("volume_id\n" + "".join(f"{volume_id}\n" for volume_id in volumes[:2]))
    batchexport("run", listed, "--disk-format", "raw")
    first = batchexport("report", "two.state", "-f", "csv").stdout
    batchexport("run", listed, "--disk-format", "raw")
    again = batchexport("report", "two.state", "-f", "csv").stdout
    assert first == again
    assert len(list(csv.DictReader(io.StringIO(first)))) == 2
    for volume_id in volumes[:2]:
        assert len([image for image in cloud.image.images() if volume_id in image.name]) == 1
    (tmp_path / "report.csv").write_text(first)
    assert batchexport("validate", "report.csv").returncode == 0

"""Volumes that servers hold, and the forms that endpoints have, on a real cloud."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from openstack.config import OpenStackConfig

QUICK = ("--disk-format", "raw", "--poll-interval", "1", "--requests-per-second", "20")


def write_list(folder: Path, ids: list[str], name: str = "list.csv") -> Path:
    (folder / name).write_text("volume_id\n" + "".join(f"{volume_id}\n" for volume_id in ids))
    return folder / name


def jobs(batchexport: Callable[..., Any], state: str = "list.state") -> Any:
    return json.loads(batchexport("report", state, "-f", "json").stdout)["jobs"]


def images_of(cloud: Any, volume_id: str) -> Any:
    return [image for image in cloud.image.images() if volume_id in image.name]


@pytest.fixture
def held_and_free(few_volumes: Any, make_server: Any) -> Any:
    """A volume that a running server holds, and one that is free."""
    held, free = few_volumes(2)
    make_server([held])
    return held, free


def test_a_volume_in_use_is_left_alone_unless_it_is_asked_for(
    cloud: Any, held_and_free: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    held, free = held_and_free
    for policy, state, exit_code in (("fail", "failed", 3), ("skip", "skipped", 0)):
        listed = write_list(tmp_path, held_and_free, f"{policy}.csv")
        # The second list of the folder exports what the first one has exported, too.
        done = batchexport("run", listed, *QUICK, "--in-use", policy, "--again", check=False)
        assert done.returncode == exit_code, done.stderr
        states = {row["volume_id"]: row["state"] for row in jobs(batchexport, f"{policy}.state")}
        assert states == {held: state, free: "succeeded"}
    assert [len(images_of(cloud, volume_id)) for volume_id in (held, free)] == [0, 2]
    assert cloud.block_storage.get_volume(held).status == "in-use"


def forced(cloud: Any, held: Any, batchexport: Callable[..., Any], tmp_path: Path) -> Any:
    done = batchexport("run", write_list(tmp_path, [held]), *QUICK, "--in-use", "force", check=False)
    (row,) = jobs(batchexport)
    assert cloud.block_storage.get_volume(held).status == "in-use"
    return done.returncode, row


def test_force_exports_a_volume_in_use_where_the_operator_allowed_it(
    cloud: Any, held_and_free: Any, reconfigure: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    held, _ = held_and_free
    reconfigure(STACK_FORCE_UPLOAD="true")
    code, row = forced(cloud, held, batchexport, tmp_path)
    assert (code, row["state"]) == (0, "succeeded"), row
    (image,) = images_of(cloud, held)
    assert (image.id, image.status) == (row["image_id"], "active")


def test_force_that_the_cloud_ignores_is_told_on_a_cloud_with_bare_endpoints(
    cloud: Any, held_and_free: Any, reconfigure: Any, batchexport: Callable[..., Any], tmp_path: Path
) -> None:
    held, free = held_and_free
    reconfigure(STACK_FORCE_UPLOAD="false", STACK_BLOCK_URL="bare")
    code, row = forced(cloud, held, batchexport, tmp_path)
    assert (code, row["state"], row["code"]) == (3, "failed", "force_ignored"), row
    assert images_of(cloud, held) == []
    batchexport("run", write_list(tmp_path, [free], "free.csv"), *QUICK)
    assert [row["state"] for row in jobs(batchexport, "free.state")] == ["succeeded"]


@pytest.mark.parametrize("form", ["v3", ""])  # the catalog has the one with the project's id
def test_every_form_of_the_endpoint_exports(
    cloud: Any,
    few_volumes: Any,
    batchexport: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    listed = cloud.config.get_session_endpoint("block-storage")
    root = listed.partition("/v3")[0]
    clouds = OpenStackConfig().cloud_config
    clouds["clouds"][os.environ["OS_CLOUD"]]["block_storage_endpoint_override"] = f"{root}/{form}"
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump(clouds))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    (volume_id,) = few_volumes(1)
    batchexport("run", write_list(tmp_path, [volume_id]), *QUICK)
    assert [row["state"] for row in jobs(batchexport)] == ["succeeded"]
    assert len(images_of(cloud, volume_id)) == 1

"""Volumes in use, exported by way of copies while their servers run, on a real Nova, Cinder and Glance."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

QUICK = ("--disk-format", "qcow2", "--poll-interval", "1", "--requests-per-second", "20")
RUN = (*QUICK, "--in-use", "snapshot", "--again")


class Site:
    """A folder with a list, and what was in the project before it was worked on."""

    def __init__(self, cloud: Any, compute: Any, held: Any, batchexport: Callable[..., Any], folder: Path):
        self.cloud, self.compute, self.held = cloud, compute, held
        self.batchexport, self.folder = batchexport, folder
        self.before = self.storage()

    def write(self, volume_ids: Sequence[str]) -> None:
        (self.folder / "list.csv").write_text("volume_id\n" + "\n".join(volume_ids) + "\n")

    def storage(self) -> Any:
        """Every volume and snapshot of the project."""
        storage = self.cloud.block_storage
        return {each.id for each in storage.volumes(details=False)}, {each.id for each in storage.snapshots()}

    def rows(self) -> Any:
        jobs = json.loads(self.batchexport("report", "list.state", "-f", "json").stdout)["jobs"]
        return {row["volume_id"]: row for row in jobs}

    def check(self, volume_ids: Sequence[str]) -> None:
        """One whole image of each volume, servers that nobody touched, and nothing of ours left."""
        rows = self.rows()
        assert {row["state"] for row in rows.values()} == {"succeeded"}, rows
        for volume_id in volume_ids:
            images = [image for image in self.cloud.image.images() if volume_id in image.name]
            assert [image.id for image in images] == [rows[volume_id]["image_id"]]
            self.compare(images[0].id, self.held.files[volume_id])
            self.cloud.image.delete_image(images[0].id)
        self.check_servers()
        assert self.storage() == self.before

    def check_servers(self) -> None:
        for server_id, volume_ids in self.held.servers.items():
            assert self.compute.get_server(server_id).status == "ACTIVE"
            done = {action.action for action in self.compute.server_actions(server_id)}
            assert not done & {"stop", "start", "reboot", "detach_volume"}
            for volume_id in volume_ids:
                assert self.cloud.block_storage.get_volume(volume_id).status == "in-use"

    def compare(self, image_id: str, bytes_of_volume: Path) -> None:
        """Raises AssertionError unless the image holds the bytes of the volume."""
        copy = self.folder / "image.qcow2"
        self.cloud.image.download_image(image_id, output=str(copy), stream=True)
        command = ["qemu-img", "compare", "-U", "-f", "qcow2", "-F", "raw", str(copy), str(bytes_of_volume)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def site(cloud: Any, compute: Any, held: Any, batchexport: Callable[..., Any], tmp_path: Path) -> Site:
    return Site(cloud, compute, held, batchexport, tmp_path)


@pytest.fixture
def steer(cloud: Any) -> Iterator[Callable[..., None]]:
    """A function that has the back end fail for a volume, by the metadata that steers the harness."""
    steered: list[tuple[str, list[str]]] = []

    def set_words(volume_id: str, **words: str) -> None:
        steered.append((volume_id, list(words)))
        cloud.block_storage.set_volume_metadata(volume_id, **words)

    yield set_words
    for volume_id, names in steered:
        cloud.block_storage.delete_volume_metadata(volume_id, names)


def test_twenty_volumes_of_running_servers_whatever_kills_the_run(site: Site) -> None:
    volume_ids = list(site.held.files)
    site.write(volume_ids)
    drawn = random.Random(20)
    words = [sys.executable, "-m", "batchexport", "run", "list.csv", *RUN]
    for _ in range(3):
        with (site.folder / "run.log").open("a") as log:
            process = subprocess.Popen(words, cwd=site.folder, stdout=log, stderr=log)
        try:
            process.wait(timeout=drawn.uniform(3, 9))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    site.batchexport("run", "list.csv", *RUN)
    site.check(volume_ids)


def test_a_quota_that_is_hit_waits_for_our_own_releases(site: Site) -> None:
    import openstack

    admin_name = os.environ.get("BATCHEXPORT_TEST_ADMIN")
    if not admin_name:
        pytest.skip("needs an administrator who can set quotas: set BATCHEXPORT_TEST_ADMIN")
    volume_ids = list(site.held.files)[:5]
    site.write(volume_ids)
    volumes, snapshots = site.before
    project_id = site.cloud.current_project_id
    admin = openstack.connect(cloud=admin_name)
    try:
        admin.set_volume_quotas(project_id, volumes=len(volumes) + 2, snapshots=len(snapshots) + 2)
        site.batchexport("run", "list.csv", *RUN)
    finally:
        admin.set_volume_quotas(project_id, volumes=-1, snapshots=-1)
        admin.close()
    site.check(volume_ids)


def test_a_copy_that_fails_is_released_and_made_again(site: Site, steer: Callable[..., None]) -> None:
    one, two = volume_ids = list(site.held.files)[:2]
    site.write(volume_ids)
    steer(one, harness_clone_fail="1*no space for a volume")
    steer(two, harness_unclone_fail="1*busy", harness_unsnapshot_fail="1*busy")
    site.batchexport("run", "list.csv", *RUN)
    site.check(volume_ids)


def test_what_cannot_be_deleted_is_named_until_somebody_helps(site: Site, steer: Callable[..., None]) -> None:
    import openstack

    admin_name = os.environ.get("BATCHEXPORT_TEST_ADMIN")
    if not admin_name:
        pytest.skip("needs an administrator who can set a status: set BATCHEXPORT_TEST_ADMIN")
    (volume_id,) = volume_ids = list(site.held.files)[:1]
    site.write(volume_ids)
    steer(volume_id, harness_unclone_fail="1*the back end is broken")
    done = site.batchexport("run", "list.csv", *RUN, check=False)
    assert done.returncode == 3, done.stderr
    left = json.loads(site.batchexport("resources", "list.state", "-f", "json").stdout)["resources"]
    volume_left = next(each for each in left if each["kind"] == "temporary volume")
    admin = openstack.connect(cloud=admin_name)
    admin.block_storage.reset_volume_status(volume_left["resource_id"], status="available")
    admin.close()
    site.batchexport("resources", "list.state", "--release")
    site.check(volume_ids)

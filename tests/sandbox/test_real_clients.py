"""The clients that people have meet the sandbox, in processes of their own: they warn, and they block."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from batchexport.sandbox import Sandbox, SandboxServer, SandboxSettings, clouds_yaml, serve
from tests.sandbox.asking import OTHER_VOLUME, VOLUME

SERVER = SandboxServer(
    server_id="7d1f7d0c-6f5d-4c43-9c58-8f1f2f6f2b01", name="web", volume_ids=(OTHER_VOLUME,)
)

# Export a volume and wait for it, as a script of a user would.
SDK = """
import sys, openstack
cloud = openstack.connect(cloud="sandbox")
volume = cloud.block_storage.get_volume(sys.argv[1])
accepted = cloud.block_storage.upload_volume_to_image(
    volume, "by-sdk", disk_format="qcow2", container_format="bare", visibility="private", protected=False
)
image = cloud.image.get_image(accepted["image_id"])
image = cloud.image.wait_for_status(image, "active", interval=0.05, wait=20)
volume = cloud.block_storage.wait_for_status(volume, "available", interval=0.05, wait=20)
assert [found.id for found in cloud.image.images(limit=1)] == [image.id]
assert [found.id for found in cloud.block_storage.volumes(limit=1)] == [volume.id]
print(image.status, volume.status, image.name)
"""

# Stop the server of a volume, export the volume, and start the server again.
SDK_SERVERS = """
import sys, openstack
cloud = openstack.connect(cloud="sandbox")
volume = cloud.block_storage.get_volume(sys.argv[1])
server = cloud.compute.get_server(volume.attachments[0]["server_id"])
print(volume.status, server.status, server.attached_volumes[0].id == volume.id)
cloud.compute.stop_server(server)
server = cloud.compute.wait_for_server(server, "SHUTOFF", interval=0.05, wait=20)
try:
    cloud.compute.stop_server(server)
except openstack.exceptions.ConflictException as error:
    print(error.details)
cloud.block_storage.upload_volume_to_image(volume, "by-sdk", force=True)
cloud.compute.start_server(server)
cloud.compute.wait_for_server(server, "ACTIVE", interval=0.05, wait=20)
print([(found.name, found.status) for found in cloud.compute.servers(limit=1)])
"""

# Export a volume in use by way of a snapshot, and once more as a clone; leave nothing behind.
SDK_SNAPSHOTS = """
import sys, openstack
cloud = openstack.connect(cloud="sandbox")
storage = cloud.block_storage
storage.default_microversion = "3.22"
snapshot = storage.create_snapshot(
    volume_id=sys.argv[1], name="ours", is_forced=True, metadata={"batchexport_run": "r1"}
)
snapshot = storage.wait_for_status(snapshot, "available", interval=0.05, wait=20)
assert [found.id for found in storage.snapshots(metadata={"batchexport_run": "r1"})] == [snapshot.id]
assert [found.id for found in storage.snapshots(metadata={"batchexport_run": "r2"})] == []
volumes = [
    storage.create_volume(snapshot_id=snapshot.id, name="temporary", metadata={"batchexport_run": "r1"}),
    storage.create_volume(source_volume_id=sys.argv[1], name="clone"),
]
for volume in volumes:
    volume = storage.wait_for_status(volume, "available", interval=0.05, wait=20)
    accepted = storage.upload_volume_to_image(volume, volume.name)
    cloud.image.wait_for_status(cloud.image.get_image(accepted["image_id"]), "active", interval=0.05, wait=20)
    # What is at hand says `available` still, and would not be asked for again.
    storage.wait_for_status(storage.get_volume(volume.id), "available", interval=0.05, wait=20)
    print(volume.name, volume.size == snapshot.size, volume.snapshot_id == snapshot.id)
storage.set_snapshot_metadata(snapshot, step="2")
print(sorted(storage.get_snapshot_metadata(snapshot).metadata))
limits = storage.get_limits().absolute
quotas = storage.get_quota_set(cloud.current_project_id, usage=True)
print(limits.total_snapshots_used, quotas.usage["snapshots"])
for volume in volumes:
    storage.delete_volume(volume)
    storage.wait_for_delete(volume, interval=0.05, wait=20)
storage.delete_snapshot(snapshot)
storage.wait_for_delete(snapshot, interval=0.05, wait=20)
print(list(storage.snapshots()), storage.get_volume(sys.argv[1]).status)
"""


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with serve(SandboxSettings(time_scale=0.001)) as running:
        (tmp_path / "clouds.yaml").write_text(clouds_yaml(running.url))
        yield running


@pytest.fixture
async def manned(tmp_path: Path) -> AsyncIterator[Sandbox]:
    settings = SandboxSettings(time_scale=0.001, servers=[SERVER], force_upload=True)
    async with serve(settings) as running:
        (tmp_path / "clouds.yaml").write_text(clouds_yaml(running.url))
        yield running


async def run(folder: Path, *arguments: str) -> str:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OS_")}
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=folder,
        env=environment | {"OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def openstack(folder: Path, *arguments: str) -> Any:
    """What the command line client prints as JSON."""
    client = str(Path(sys.executable).with_name("openstack"))
    return json.loads(await run(folder, client, "--os-cloud", "sandbox", *arguments, "-f", "json"))


async def test_openstacksdk_exports_a_volume_to_an_active_image(sandbox: Sandbox, tmp_path: Path) -> None:
    printed = await run(tmp_path, sys.executable, "-c", SDK, VOLUME)
    assert printed.split() == ["active", "available", "by-sdk"]
    assert sandbox.exports_per_volume == {VOLUME: 1}


async def test_openstacksdk_stops_a_server_exports_its_volume_and_starts_it(
    manned: Sandbox, tmp_path: Path
) -> None:
    printed = await run(tmp_path, sys.executable, "-c", SDK_SERVERS, OTHER_VOLUME)
    assert printed.splitlines() == [
        "in-use ACTIVE True",
        f"Cannot 'stop' instance {SERVER.server_id} while it is in vm_state stopped",
        "[('web', 'ACTIVE')]",
    ]
    assert manned.exports_per_volume == {OTHER_VOLUME: 1}


async def test_the_openstack_client_stops_and_starts_a_server(manned: Sandbox, tmp_path: Path) -> None:
    client = str(Path(sys.executable).with_name("openstack"))
    await run(tmp_path, client, "--os-cloud", "sandbox", "server", "stop", "web")
    shown = await openstack(tmp_path, "server", "show", "web")
    assert (shown["status"], shown["OS-EXT-STS:vm_state"]) == ("SHUTOFF", "stopped")
    await run(tmp_path, client, "--os-cloud", "sandbox", "server", "start", SERVER.server_id)
    assert manned.counts["act_on_server"] == 2


async def test_the_openstack_client_creates_lists_shows_and_deletes(sandbox: Sandbox, tmp_path: Path) -> None:
    created = await openstack(tmp_path, "image", "create", "--volume", VOLUME, "by-client")
    assert (created["status"], created["image_name"]) == ("uploading", "by-client")
    (volume,) = await openstack(tmp_path, "volume", "list")
    assert volume["ID"] == VOLUME
    shown = await openstack(tmp_path, "image", "show", "by-client")
    assert shown["id"] == created["image_id"]
    assert (await openstack(tmp_path, "volume", "show", VOLUME))["name"] == volume["Name"]
    client = str(Path(sys.executable).with_name("openstack"))
    await run(tmp_path, client, "--os-cloud", "sandbox", "image", "delete", "by-client")
    assert await openstack(tmp_path, "image", "list") == []


async def test_openstacksdk_exports_a_volume_in_use_by_a_snapshot_and_by_a_clone(
    manned: Sandbox, tmp_path: Path
) -> None:
    printed = await run(tmp_path, sys.executable, "-c", SDK_SNAPSHOTS, OTHER_VOLUME)
    assert printed.splitlines() == [
        "temporary True True",
        "clone True False",
        "['batchexport_run', 'step']",
        "1 1",
        "[] in-use",
    ]


@pytest.mark.timeout(300)  # each of these processes takes seconds to start, on a busy machine ten
async def test_the_openstack_client_makes_a_snapshot_and_a_volume_of_it(
    manned: Sandbox, tmp_path: Path
) -> None:
    words = ("--volume", OTHER_VOLUME, "--property", "run=r1", "by-client")
    newest = ("--os-volume-api-version", "3.66")  # from there on, a volume in use needs no force
    made = await openstack(tmp_path, *newest, "volume", "snapshot", "create", *words)
    assert (made["status"], made["volume_id"]) == ("creating", OTHER_VOLUME)
    volume = await openstack(tmp_path, "volume", "create", "--snapshot", made["id"], "temporary")
    assert (volume["status"], volume["snapshot_id"], volume["size"]) == ("creating", made["id"], made["size"])
    client = str(Path(sys.executable).with_name("openstack"))
    await run(tmp_path, client, "--os-cloud", "sandbox", "volume", "snapshot", "delete", "by-client")
    assert await openstack(tmp_path, "volume", "snapshot", "list") == []

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

"""The client on the EVS side of the sandbox: signed in with a token, and by access key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from batchexport.cloud import Cloud, connect, server_batches
from batchexport.config.settings import CloudSettings, Limits
from batchexport.dialect import DialectName
from batchexport.errors import AuthenticationError, ConfigError, VolumeStateError
from batchexport.model import ExportRequest, ImageOptions, TargetKey
from batchexport.sandbox import (
    Profile,
    Sandbox,
    SandboxServer,
    SandboxSettings,
    SandboxVolume,
    clouds_yaml,
    serve,
)
from batchexport.sandbox.settings import (
    ACCESS_KEY,
    PROJECT_ID,
    SECRET_KEY,
    SECURITY_TOKEN,
    TEMPORARY_ACCESS_KEY,
    TEMPORARY_SECRET_KEY,
)

# openstacksdk warns about an option of its own, whether it is used or not.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

VOLUME = "0b9f7d0c-6f5d-4c43-9c58-8f1f2f6f2a01"
USED = SandboxVolume(volume_id="0b9f7d0c-6f5d-4c43-9c58-8f1f2f6f2a02", name="used", status="in-use")
SERVERS = [
    SandboxServer(
        server_id=f"7d1f7d0c-0000-4000-8000-00000000000{number}", name=f"s{number}", locked=number == 3
    )
    for number in range(1, 4)
]
LIMITS = Limits(requests_per_second=0, concurrency=16)
BY_TOKEN, BY_KEY = "sandbox", "sandbox-key"
REQUEST = ExportRequest(
    volume_id=VOLUME, image_name="批量 导出-1", options=ImageOptions(disk_format="zvhd2", os_type="windows")
)


@dataclass
class Site:
    """A sandbox of the evs profile, and the file that leads to it."""

    sandbox: Sandbox
    clouds_file: Path
    clock_off_s: float = 0.0

    def write_clouds(self, *, access: str = ACCESS_KEY, secret: str = SECRET_KEY, more: str = "") -> None:
        text = clouds_yaml(self.sandbox.url, Profile.EVS)
        self.clouds_file.write_text(text.replace(ACCESS_KEY, access).replace(SECRET_KEY, secret) + more)

    def now(self) -> float:
        return time.time() + self.clock_off_s


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    for name in ("OS_CLOUD", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    made: list[Site] = []
    settings = SandboxSettings(profile=Profile.EVS, volumes=[USED], servers=SERVERS, time_scale=0)
    async with serve(settings, now=lambda: made[0].now() if made else time.time()) as sandbox:
        made.append(Site(sandbox, tmp_path / "clouds.yaml"))
        yield made[0]


def signed_in(cloud: str = BY_KEY, *, project: str | None = None) -> AbstractAsyncContextManager[Cloud]:
    return connect(TargetKey(project=project), CloudSettings(cloud=cloud), limits=LIMITS)


@pytest.mark.parametrize("cloud", [BY_TOKEN, BY_KEY])
async def test_a_volume_is_exported_and_its_image_found(site: Site, cloud: str) -> None:
    site.write_clouds()
    async with signed_in(cloud) as client:
        assert client.dialect.name is DialectName.EVS
        accepted = await client.block_storage.upload_volume_to_image(REQUEST, fence=lambda: None)
        image = await client.image.get_image(accepted.image_id)
        assert image is not None
        assert (image.name, image.status) == (REQUEST.image_name, "active")
        assert image.size_bytes == (accepted.size_gib or 0) * 2**30  # and not the 0 in `size`
        assert [found.image_id for found in await client.image.images_named(REQUEST.image_name)] == [
            image.image_id
        ]
        pages = [page async for page in client.image.images(updated_since=image.updated_at)]
        assert [[found.image_id for found in page] for page in pages] == [[image.image_id]]
        available = client.block_storage.volumes(status="available")
        listed = [volume.volume_id async for page in available for volume in page]
        assert listed == [VOLUME]
        assert await client.block_storage.failure_reason(VOLUME, accepted.request_id) is None
        await client.image.delete_image(image.image_id, fence=lambda: None)
        assert await client.image.get_image(image.image_id) is None
    assert site.sandbox.counts["auth"] == (1 if cloud == BY_TOKEN else 0)


@pytest.mark.parametrize("cloud", [BY_TOKEN, BY_KEY])
async def test_a_volume_in_use_is_refused_for_its_status_and_exported_with_force(
    site: Site, cloud: str
) -> None:
    site.write_clouds()
    request = replace(REQUEST, volume_id=USED.volume_id)
    async with signed_in(cloud) as client:
        with pytest.raises(VolumeStateError, match="valid status"):
            await client.block_storage.upload_volume_to_image(request, fence=lambda: None)
        forced = replace(request, options=replace(request.options, force=True))
        await client.block_storage.upload_volume_to_image(forced, fence=lambda: None)


@pytest.mark.parametrize("cloud", [BY_TOKEN, BY_KEY])
async def test_servers_go_down_and_up_in_one_batch_each(
    site: Site, cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write_clouds()
    monkeypatch.setattr(server_batches, "JOB_POLL_S", 0.0)
    first, second, locked = (server.server_id for server in SERVERS)
    gone = "7d1f7d0c-0000-4000-8000-000000000009"
    async with signed_in(cloud) as client:
        failed = await client.compute.stop_servers(
            [first, second, locked, gone], hard=False, fence=lambda: None
        )
        assert {server_id: error.code for server_id, error in failed.items()} == dict.fromkeys(
            (locked, gone), "Ecs.0100"
        )
        assert await statuses(client) == {first: "shutoff", second: "shutoff", locked: "active"}
        assert await client.compute.start_servers([first, second], fence=lambda: None) == {}
        assert await client.compute.stop_servers([first], hard=True, fence=lambda: None) == {}
        assert await statuses(client) == {first: "shutoff", second: "active", locked: "active"}
    assert (site.sandbox.counts["act_on_servers"], site.sandbox.counts["act_on_server"]) == (2, 1)


async def statuses(client: Cloud) -> dict[str, str]:
    ids = [server.server_id for server in SERVERS]
    return {server.server_id: server.status async for page in client.compute.servers(ids) for server in page}


async def test_a_token_that_evs_calls_bad_is_renewed(site: Site) -> None:
    site.write_clouds()
    async with signed_in(BY_TOKEN) as client:
        site.sandbox.revoke_tokens()
        assert await client.block_storage.get_volume(VOLUME) is not None
    assert site.sandbox.counts["auth"] == 2


async def test_a_temporary_key_goes_with_its_security_token(site: Site) -> None:
    token = f"    security_token: {SECURITY_TOKEN}\n"
    site.write_clouds(access=TEMPORARY_ACCESS_KEY, secret=TEMPORARY_SECRET_KEY, more=token)
    async with signed_in() as client:
        assert await client.block_storage.get_volume(VOLUME) is not None


@pytest.mark.parametrize(
    ("access", "secret", "more", "hint"),
    [
        (ACCESS_KEY, "wrong", "", "belong together"),
        ("NOBODY", "wrong", "", "no such access key"),
        (TEMPORARY_ACCESS_KEY, TEMPORARY_SECRET_KEY, "    security_token: old\n", "temporary keys expire"),
    ],
)
async def test_a_key_that_is_refused_costs_one_request_and_is_explained(
    site: Site, access: str, secret: str, more: str, hint: str
) -> None:
    site.write_clouds(access=access, secret=secret, more=more)
    with pytest.raises(AuthenticationError, match="Incorrect IAM authentication information") as caught:
        async with signed_in():
            pass
    assert hint in str(caught.value.hint)
    assert site.sandbox.counts["bad_signatures"] == 1


@pytest.mark.parametrize(
    ("clock_off_s", "words"), [(3600, "60 minutes behind"), (-7200, "120 minutes ahead of")]
)
async def test_a_clock_that_is_off_is_named_as_the_reason(site: Site, clock_off_s: float, words: str) -> None:
    site.write_clouds()
    site.clock_off_s = clock_off_s
    with pytest.raises(AuthenticationError, match=f"this machine's clock is {words} the cloud's") as caught:
        async with signed_in():
            pass
    assert "set this machine's clock" in str(caught.value.hint)


async def test_a_locked_key_is_told_to_wait(site: Site) -> None:
    site.write_clouds(secret="wrong")
    for _ in range(5):
        with pytest.raises(AuthenticationError):
            async with signed_in():
                pass
    site.write_clouds()
    with pytest.raises(AuthenticationError, match="reach the limit") as caught:
        async with signed_in():
            pass
    assert "five minutes" in str(caught.value.hint)


async def test_a_key_that_is_withdrawn_under_way_is_not_tried_until_it_locks(site: Site) -> None:
    """Of fifty requests that are waiting, only those already on the wire meet the refusal."""
    site.write_clouds()
    async with signed_in() as client:
        site.clock_off_s = 3600
        reads = [client.block_storage.get_volume(VOLUME) for _ in range(50)]
        results = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(result, AuthenticationError) for result in results)
        sent = site.sandbox.counts["bad_signatures"]
        assert sent <= LIMITS.concurrency
        with pytest.raises(AuthenticationError):
            await client.block_storage.get_volume(VOLUME)
        assert site.sandbox.counts["bad_signatures"] == sent


async def test_the_rows_project_must_be_an_id(site: Site) -> None:
    site.write_clouds()
    async with signed_in(project=PROJECT_ID) as client:
        assert await client.block_storage.get_volume(VOLUME) is not None
    with pytest.raises(ConfigError, match="'demo' is not one"):
        async with signed_in(project="demo"):
            pass

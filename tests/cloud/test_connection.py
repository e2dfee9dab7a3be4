from __future__ import annotations

import json
import logging
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from batchexport.cloud import Cloud, SignIns, connect
from batchexport.cloud.auth.sign_in_pacing import SignInTimeouts
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.config.settings import CloudSettings, Limits
from batchexport.engine.ports import Cloud as CloudPort
from batchexport.errors import (
    AuthenticationError,
    ConfigError,
    FatalError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from batchexport.model import NO_OPTIONS, ExportRequest, TargetKey
from tests.cloud.keystone import PASSWORD, PROJECT_ID, Keystone, clouds_yaml
from tests.cloud.scripted import Reply, ScriptedServer, unused_url

# openstacksdk warns about an option of its own, whether it is used or not.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

LIMITS = Limits(requests_per_second=0, concurrency=4)
ONCE = SignInTimeouts(unreachable_s=0, unavailable_s=0)
ONE = CloudSettings(cloud="one")
ANY = TargetKey()


@pytest.fixture
def keystone(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keystone:
    for name in ("OS_CLOUD", "OS_AUTH_URL", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    path = clouds_yaml(tmp_path, f"{server.url}/identity/v3")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    return Keystone(server)


async def look(key: TargetKey = ANY, access: CloudSettings = ONE) -> None:
    """Connect and list what is there."""
    async with connect(key, access, limits=LIMITS, sign_ins=SignIns(ONCE)) as client:
        assert [page async for page in client.block_storage.volumes()] == []
        assert [page async for page in client.image.images()] == []


async def test_the_client_is_what_the_engine_asks_for(keystone: Keystone) -> None:
    async with connect(ANY, ONE, limits=LIMITS) as client:
        cloud: CloudPort = client
        assert cloud.requests_per_second == 0


async def test_one_sign_in_serves_every_call(keystone: Keystone) -> None:
    keystone.service = Reply(404)
    async with connect(ANY, ONE, limits=LIMITS) as client:
        assert await client.block_storage.get_volume("v") is None
        assert await client.image.get_image("i") is None
        assert await client.block_storage.failure_reason("v", None) is None
    assert len(keystone.requests) == 1
    asked = [seen for seen in keystone.server.seen if "identity" not in seen.path]
    assert {seen.token for seen in asked} == {"tok-1"}
    probe, *others = [seen.path for seen in asked]
    assert probe == "/v2/images?limit=1"
    assert others[:2] == [f"/v3/{PROJECT_ID}/volumes/v", "/v2/images/i"]


async def test_an_export_goes_to_the_volume(keystone: Keystone) -> None:
    keystone.service = Reply(202, {"os-volume_upload_image": {"image_id": "i1"}})
    request = ExportRequest(volume_id="v1", image_name="n", options=NO_OPTIONS)
    async with connect(ANY, ONE, limits=LIMITS) as client:
        accepted = await client.block_storage.upload_volume_to_image(request, fence=lambda: None)
    assert accepted.image_id == "i1"


async def test_images_are_found_by_name(keystone: Keystone) -> None:
    keystone.service = Reply(200, {"images": [{"id": "i1", "name": "n", "status": "active"}]})
    async with connect(ANY, ONE, limits=LIMITS) as client:
        assert [image.image_id for image in await client.image.images_named("n")] == ["i1"]


async def test_the_image_service_tells_the_time_before_anything_is_exported(keystone: Keystone) -> None:
    keystone.clock_off_s = 3600.0
    date = formatdate(time.time() - 7200, usegmt=True)
    keystone.probed = Reply(200, {"images": []}, {"Date": date})
    async with connect(ANY, ONE, limits=LIMITS) as client:
        assert abs(client.server_now_s() - (time.time() - 7200)) < 60


async def test_an_image_service_that_refuses_ends_the_target_before_anything_is_exported(
    keystone: Keystone,
) -> None:
    keystone.probed = Reply(403, {"message": "no"})
    with pytest.raises(FatalError):
        await look()
    assert not [seen for seen in keystone.server.seen if seen.path.startswith("/v3")]


async def test_targets_may_share_a_gate(keystone: Keystone) -> None:
    gate = RateLimiter(7)
    async with connect(ANY, ONE, limits=LIMITS, limiter=gate) as client:
        assert client.requests_per_second == 7


async def test_the_connections_are_closed_at_the_end(keystone: Keystone) -> None:
    async with connect(ANY, ONE, limits=LIMITS) as client:
        pass
    assert isinstance(client, Cloud)
    with pytest.raises(RuntimeError, match="closed"):
        await client.block_storage.get_volume("v")


async def test_the_rows_cloud_wins(keystone: Keystone) -> None:
    await look(TargetKey(cloud="one"), CloudSettings(cloud="no-such-cloud"))


async def test_the_rows_project_wins_by_name(keystone: Keystone) -> None:
    keystone.project_name = "second"
    await look(TargetKey(project="second"))
    assert '"project": {"name": "second"' in json.dumps(keystone.requests)


async def test_the_rows_project_wins_by_id(keystone: Keystone) -> None:
    await look(TargetKey(project=PROJECT_ID))
    assert f'"project": {{"id": "{PROJECT_ID}"}}' in json.dumps(keystone.requests)


async def test_a_token_for_another_project_than_asked_is_refused(keystone: Keystone) -> None:
    with pytest.raises(ConfigError, match="signed in to project demo; the list asks for second"):
        await look(TargetKey(project="second"))


async def test_an_application_credential_names_no_project(
    keystone: Keystone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {
        "auth_url": f"{keystone.server.url}/identity/v3",
        "application_credential_id": "a",
        "application_credential_secret": PASSWORD,
    }
    clouds_yaml(tmp_path, "", auth_type="v3applicationcredential", auth=auth)
    await look(TargetKey(project="demo"))
    assert keystone.requests[0]["identity"]["methods"] == ["application_credential"]
    assert "scope" not in keystone.requests[0]


async def test_the_rows_region_wins(keystone: Keystone, tmp_path: Path) -> None:
    clouds_yaml(tmp_path, f"{keystone.server.url}/identity/v3", region_name=None, regions=["R1", "R2"])
    with pytest.raises(ConfigError, match=r"no block storage in region R2.*volumev3 \(R1\)"):
        await look(TargetKey(region="R2"))


async def test_a_region_the_cloud_has_not_is_answered_with_those_it_has(keystone: Keystone) -> None:
    with pytest.raises(ConfigError, match="Valid choices are R1"):
        await look(TargetKey(region="Mars"))


async def test_flags_win_over_the_file(keystone: Keystone) -> None:
    with pytest.raises(AuthenticationError, match="Wrong password") as caught:
        await look(access=CloudSettings(cloud="one", options={"password": "guess", "interface": "public"}))
    assert caught.value.status == 401 and "password" in (caught.value.hint or "")


async def test_flags_alone_are_enough(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "/nowhere")
    options = {
        "auth_url": f"{keystone.server.url}/identity/v3",
        "username": "demo",
        "password": PASSWORD,
        "project_name": "demo",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "region_name": "R1",
    }
    await look(access=CloudSettings(options=options))


async def test_the_environment_alone_is_enough(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("OS_AUTH_URL", f"{keystone.server.url}/identity/v3")
    for name, value in (("USERNAME", "demo"), ("PASSWORD", PASSWORD), ("PROJECT_NAME", "demo")):
        monkeypatch.setenv(f"OS_{name}", value)
    monkeypatch.setenv("OS_USER_DOMAIN_NAME", "Default")
    monkeypatch.setenv("OS_PROJECT_DOMAIN_NAME", "Default")
    await look(access=CloudSettings())


async def test_an_unknown_cloud_is_answered_with_those_known(keystone: Keystone) -> None:
    with pytest.raises(ConfigError, match=r"cloud 'tow' is not in clouds\.yaml; known clouds: one, other"):
        await look(TargetKey(cloud="tow"))


async def test_nothing_to_sign_in_with_is_answered_with_what_to_set(keystone: Keystone) -> None:
    with pytest.raises(ConfigError, match="auth_url") as caught:
        await look(access=CloudSettings())
    assert "OS_AUTH_URL" in (caught.value.hint or "") and "one, other" in (caught.value.hint or "")


async def test_an_unfinished_entry_is_named(keystone: Keystone) -> None:
    with pytest.raises(ConfigError, match=r"cloud 'other'.*auth_url"):
        await look(access=CloudSettings(cloud="other"))


async def test_an_identity_service_that_is_not_there_is_unreachable(keystone: Keystone) -> None:
    for auth_url in (unused_url(), f"{unused_url()}/v3"):
        with pytest.raises(UnreachableError, match="identity service"):
            await look(access=CloudSettings(cloud="one", options={"auth_url": auth_url}))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, TransientError), (503, TransientError), (429, ThrottledError), (403, AuthenticationError)],
)
async def test_what_the_identity_service_answers_decides_whether_to_try_again(
    keystone: Keystone, status: int, kind: type[Exception]
) -> None:
    keystone.refusal = Reply(status, {"error": {"code": status, "message": "not now"}})
    with pytest.raises(kind, match="not now"):
        await look()
    assert len(keystone.requests) == 1


async def test_a_url_without_an_identity_service_is_a_sign_in_error(keystone: Keystone) -> None:
    options = {"auth_url": f"{keystone.server.url}/elsewhere"}
    with pytest.raises(AuthenticationError, match="auth_url"):
        await look(access=CloudSettings(cloud="one", options=options))


async def test_signing_in_to_no_project_is_an_error(keystone: Keystone) -> None:
    keystone.project_name = None
    with pytest.raises(ConfigError, match="signed in, but to no project"):
        await look()


async def test_a_token_given_by_hand_needs_endpoints_given_by_hand(
    keystone: Keystone, tmp_path: Path
) -> None:
    url = keystone.server.url
    auth = {"endpoint": url, "token": PASSWORD}
    clouds_yaml(tmp_path, "", auth_type="admin_token", auth=auth)
    with pytest.raises(ConfigError, match="it has nothing"):
        await look()
    clouds_yaml(
        tmp_path,
        "",
        auth_type="admin_token",
        auth=auth,
        block_storage_endpoint_override=f"{url}/v3",
        image_endpoint_override=url,
    )
    await look()
    assert keystone.server.seen[-1].token == PASSWORD


@pytest.mark.parametrize("catalog", [[], None])
async def test_an_empty_catalog_is_named(keystone: Keystone, catalog: list[tuple[str, str]] | None) -> None:
    keystone.catalog = catalog
    with pytest.raises(ConfigError, match="it has nothing"):
        await look()


async def test_several_interfaces_may_be_wished_for(keystone: Keystone, tmp_path: Path) -> None:
    clouds_yaml(tmp_path, f"{keystone.server.url}/identity/v3", interface=["internal", "public"])
    await look()


async def test_a_proxy_that_speaks_no_http_is_a_setting_to_correct(
    keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystone.catalog = [("volumev3", "http://cinder.example/v3"), ("image", keystone.server.url)]
    monkeypatch.setenv("http_proxy", "socks5://user:word@proxy:1080")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ConfigError, match="names no HTTP proxy") as caught:
        await look()
    assert "word" not in str(caught.value)


async def test_a_proxy_from_the_environment_is_used(
    keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystone.catalog = [("volumev3", "http://cinder.example/v3"), ("image", keystone.server.url)]
    monkeypatch.setenv("http_proxy", keystone.server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    keystone.service = Reply(404)
    async with connect(ANY, ONE, limits=LIMITS) as client:
        assert await client.block_storage.get_volume("v") is None
    assert keystone.server.seen[-1].headers["Host"] == "cinder.example"


async def test_every_address_of_a_service_is_reached_through_its_proxy(
    keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystone.catalog = [("evs", f"{keystone.server.url}/v2"), ("ims", "http://ims.example")]
    monkeypatch.setenv("http_proxy", keystone.server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with connect(ANY, ONE, limits=LIMITS) as client:
        keystone.service = Reply(200, {"quotas": {"resources": []}})
        assert await client.image.get_quota() is None
    assert keystone.server.seen[-1].path.endswith("/v1/cloudimages/quota")
    assert keystone.server.seen[-1].headers["Host"] == "ims.example"


async def test_no_secret_reaches_the_log(keystone: Keystone, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        keystone.service = Reply(401, {"error": {"code": 401, "message": "no"}})
        with pytest.raises(AuthenticationError) as caught:
            await look()
    assert len(keystone.requests) <= 3
    written = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert caplog.records
    for secret in (PASSWORD, "tok-1", "tok-2"):
        assert secret not in written
        assert secret not in f"{caught.value} {caught.value.hint} {vars(caught.value)}"


async def test_the_compute_service_is_looked_for_only_when_it_is_needed(keystone: Keystone) -> None:
    async with connect(ANY, ONE, limits=LIMITS) as client:
        for _ in range(2):
            with pytest.raises(ConfigError, match="no compute service"):
                await client.compute.stop_servers(["s1"], hard=False, fence=lambda: None)


async def test_servers_are_stopped_started_and_looked_at(keystone: Keystone) -> None:
    assert keystone.catalog is not None
    keystone.catalog.append(("compute", f"{keystone.server.url}/compute"))
    async with connect(ANY, ONE, limits=LIMITS) as client:
        servers = client.compute
        keystone.service = Reply(202)
        assert await servers.stop_servers(["s1"], hard=False, fence=lambda: None) == {}
        assert await servers.start_servers(["s1"], fence=lambda: None) == {}
        keystone.service = Reply(200, {"server": {"id": "s1", "status": "ACTIVE"}})
        found = [server async for page in servers.servers(["s1"]) for server in page]
    assert [(server.server_id, server.status) for server in found] == [("s1", "active")]
    asked = [seen.path for seen in keystone.server.seen if "compute" in seen.path]
    one = f"/compute/v2.1/{PROJECT_ID}/servers/s1"
    assert asked == [f"{one}/action", f"{one}/action", one]


NO_SUCH_SERVER = Reply(404, {"itemNotFound": {"code": 404, "message": "Instance s1 could not be found."}})


async def test_a_compute_endpoint_can_be_set_by_hand(keystone: Keystone, tmp_path: Path) -> None:
    url = keystone.server.url
    clouds_yaml(tmp_path, f"{url}/identity/v3", compute_endpoint_override=f"{url}/by-hand")
    keystone.service = NO_SUCH_SERVER
    async with connect(ANY, ONE, limits=LIMITS) as client:
        assert [[each.exists for each in page] async for page in client.compute.servers(["s1"])] == [[False]]
    assert keystone.server.seen[-1].path == f"/by-hand/v2.1/{PROJECT_ID}/servers/s1"


async def test_the_compute_service_is_reached_through_its_proxy(
    keystone: Keystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keystone.catalog is not None
    keystone.catalog.append(("compute", "http://nova.example/v2.1"))
    monkeypatch.setenv("http_proxy", keystone.server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    keystone.service = NO_SUCH_SERVER
    async with connect(ANY, ONE, limits=LIMITS) as client:
        assert [[each.exists for each in page] async for page in client.compute.servers(["s1"])] == [[False]]
    assert keystone.server.seen[-1].headers["Host"] == "nova.example"

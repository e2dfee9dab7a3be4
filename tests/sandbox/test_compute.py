"""Servers as Nova shows them, and what their volumes show of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchexport.sandbox import SandboxServer, SandboxSettings
from batchexport.sandbox.settings import PROJECT_ID
from tests.sandbox.asking import OTHER_VOLUME, V3, VOLUME, Answer, Asker, asking

WEB = SandboxServer(server_id="11111111-0000-4000-8000-000000000001", name="web", volume_ids=(VOLUME,))
TWIN = SandboxServer(
    server_id="11111111-0000-4000-8000-000000000002", name="twin", volume_ids=(VOLUME, OTHER_VOLUME)
)
LOCKED = SandboxServer(server_id="11111111-0000-4000-8000-000000000003", name="locked", locked=True)
DEAF = SandboxServer(server_id="11111111-0000-4000-8000-000000000004", name="deaf", deaf=True)
SETTINGS = SandboxSettings(servers=[WEB, TWIN, LOCKED, DEAF], time_scale=1.0, page_limit=3)
NOVA = "/compute/v2.1"
SERVERS = f"{NOVA}/servers"


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    async with asking(SETTINGS) as ready:
        yield ready


async def act(asker: Asker, server: SandboxServer, body: object, *, base: str = NOVA) -> Answer:
    return await asker.ask("POST", f"{base}/servers/{server.server_id}/action", json=body)


async def state_of(asker: Asker, server: SandboxServer) -> tuple[str, str | None, str]:
    shown = (await asker.get(f"{SERVERS}/{server.server_id}")).json["server"]
    return shown["status"], shown["OS-EXT-STS:task_state"], shown["OS-EXT-STS:vm_state"]


async def test_a_server_goes_down_and_comes_up_in_its_own_time(asker: Asker) -> None:
    assert await state_of(asker, WEB) == ("ACTIVE", None, "active")
    stopped = await act(asker, WEB, {"os-stop": None})
    assert (stopped.status, stopped.text) == (202, "")
    assert await state_of(asker, WEB) == ("ACTIVE", "powering-off", "active")
    asker.clock.at += SETTINGS.server_stop_s
    assert await state_of(asker, WEB) == ("SHUTOFF", None, "stopped")
    assert (await act(asker, WEB, {"os-start": None})).status == 202
    assert await state_of(asker, WEB) == ("SHUTOFF", "powering-on", "stopped")
    asker.clock.at += SETTINGS.server_start_s
    assert await state_of(asker, WEB) == ("ACTIVE", None, "active")


async def test_a_guest_that_heeds_nothing_goes_down_a_minute_later(asker: Asker) -> None:
    await act(asker, DEAF, {"os-stop": None})
    asker.clock.at += SETTINGS.server_stop_s
    assert await state_of(asker, DEAF) == ("ACTIVE", "powering-off", "active")
    asker.clock.at += 60
    assert await state_of(asker, DEAF) == ("SHUTOFF", None, "stopped")


async def test_what_cannot_be_now_is_a_conflict(asker: Asker) -> None:
    refused = await act(asker, WEB, {"os-start": None})
    words = f"Cannot 'start' instance {WEB.server_id} while it is in vm_state active"
    assert refused.json == {"conflictingRequest": {"code": 409, "message": words}}
    await act(asker, WEB, {"os-stop": None})
    refused = await act(asker, WEB, {"os-stop": None})
    assert "while it is in task_state powering-off" in refused.text
    refused = await act(asker, LOCKED, {"os-stop": None})
    assert (refused.status, f"Instance {LOCKED.server_id} is locked" in refused.text) == (409, True)


@pytest.mark.parametrize("body", [{"reboot": {}}, {}, {"os-stop": None, "os-start": None}, [1]])
async def test_other_actions_are_bad_requests(asker: Asker, body: object) -> None:
    assert list((await act(asker, WEB, body)).json) == ["badRequest"]


async def test_a_body_that_is_no_json_is_a_bad_request(asker: Asker) -> None:
    path = f"{SERVERS}/{WEB.server_id}/action"
    assert (await asker.ask("POST", path, data=b"{")).status == 400


async def test_servers_that_are_not_there_are_not_found(asker: Asker) -> None:
    ghost = SandboxServer(server_id="none", name="")
    for answer in (await asker.get(f"{SERVERS}/none"), await act(asker, ghost, {"os-stop": None})):
        assert answer.json == {"itemNotFound": {"code": 404, "message": "Instance none could not be found."}}


async def test_the_list_comes_in_pages(asker: Asker) -> None:
    first = (await asker.get(f"{SERVERS}/detail?limit=1000")).json
    assert [server["name"] for server in first["servers"]] == ["web", "twin", "locked"]
    (link,) = first["servers_links"]
    second = (await asker.get(link["href"].removeprefix(asker.sandbox.url))).json
    assert [server["name"] for server in second["servers"]] == ["deaf"]
    assert "servers_links" not in second
    assert (await asker.get(f"{SERVERS}?marker=none")).status == 400


async def test_the_list_can_be_filtered(asker: Asker) -> None:
    for query, names in {
        "name=w": ["web", "twin"],
        "status=shutoff": [],
        "status=ACTIVE&name=twin": ["twin"],
    }.items():
        listed = (await asker.get(f"{SERVERS}?{query}")).json["servers"]
        assert [server["name"] for server in listed] == names


async def test_paths_may_hold_the_project(asker: Asker) -> None:
    listed = (await asker.get(f"{NOVA}/{PROJECT_ID}/servers")).json["servers"]
    assert len(listed) == 3
    assert (await asker.get(f"{NOVA}/{'0' * 32}/servers")).json["badRequest"][
        "message"
    ] == "Malformed request url"


async def test_versions_are_told_to_everybody(asker: Asker) -> None:
    asker.token = ""
    (version,) = (await asker.get("/compute/")).json["versions"]
    assert (version["id"], version["version"]) == ("v2.1", "2.1")
    assert version["links"][0]["href"] == f"{asker.sandbox.url}{NOVA}/"
    assert (await asker.get(f"{NOVA}/")).status == 401


async def test_volumes_of_servers_are_in_use_and_may_be_shared(asker: Asker) -> None:
    listed = (await asker.get(f"{V3}/volumes/detail")).json["volumes"]
    found = {}
    for volume in listed:
        servers = {attachment["server_id"] for attachment in volume["attachments"]}
        found[volume["id"]] = (volume["status"], volume["multiattach"], servers)
    assert found == {
        VOLUME: ("in-use", True, {WEB.server_id, TWIN.server_id}),
        OTHER_VOLUME: ("in-use", False, {TWIN.server_id}),
    }
    shown = (await asker.get(f"{SERVERS}/{TWIN.server_id}")).json["server"]
    assert shown["os-extended-volumes:volumes_attached"] == [{"id": VOLUME}, {"id": OTHER_VOLUME}]


@pytest.mark.parametrize("force_upload", [False, True])
async def test_the_volume_of_a_stopped_server_still_needs_force(force_upload: bool) -> None:
    settings = SandboxSettings(servers=[WEB], time_scale=0, force_upload=force_upload)
    async with asking(settings) as asker:
        await act(asker, WEB, {"os-stop": None})
        assert await state_of(asker, WEB) == ("SHUTOFF", None, "stopped")
        assert (await asker.export()).status == 400
        assert (await asker.export(force=True)).status == (202 if force_upload else 400)
        await act(asker, WEB, {"os-start": None})
        assert (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]["status"] == "in-use"


async def test_a_sandbox_that_starts_again_has_the_same_servers_down(tmp_path: Path) -> None:
    settings = SandboxSettings(servers=[WEB], journal=tmp_path / "journal", time_scale=0)
    async with asking(settings) as asker:
        await act(asker, WEB, {"os-stop": None})
    async with asking(settings) as asker:
        assert await state_of(asker, WEB) == ("SHUTOFF", None, "stopped")

from __future__ import annotations

import pytest

from batchexport.sandbox import Faults, SandboxSettings, SandboxVolume
from tests.sandbox.asking import NEWEST, OTHER_VOLUME, V2, V3, VOLUME, Asker, asking

FIVE = SandboxSettings(
    volumes=[
        SandboxVolume(volume_id=f"0b9f7d0c-6f5d-4c43-9c58-8f1f2f6f2b0{n}", name=f"v{n}", size_gib=50 - n)
        for n in range(5)
    ],
    page_limit=3,
)
FAILING = SandboxSettings(faults=Faults(fail_share=1.0))


async def names(asker: Asker, query: str, *, api: str = V3) -> list[str]:
    return [volume["name"] for volume in (await asker.get(f"{api}/volumes/detail?{query}")).json["volumes"]]


async def test_a_volume_is_shown_as_cinder_shows_it(asker: Asker) -> None:
    volume = (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]
    assert volume["id"] == VOLUME
    assert (volume["status"], volume["attachments"], volume["bootable"]) == ("available", [], "false")
    assert volume["links"][0]["href"] == f"{asker.sandbox.url}{V3}/volumes/{VOLUME}"


async def test_a_volume_is_uploading_until_its_export_has_ended(asker: Asker) -> None:
    await asker.exported()
    shown = (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]
    assert (shown["status"], shown["updated_at"]) == ("uploading", "2027-01-15T08:00:00.000000")
    asker.clock.at += 60
    assert (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]["status"] == "available"


async def test_a_volume_in_use_names_its_server() -> None:
    attached = SandboxVolume(volume_id=VOLUME, name="v", status="in-use")
    async with asking(SandboxSettings(volumes=[attached])) as asker:
        (attachment,) = (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]["attachments"]
        assert attachment["volume_id"] == VOLUME
        assert len(attachment["server_id"]) == 36


async def test_volumes_are_known_that_were_exported(asker: Asker) -> None:
    assert await names(asker, "") == []
    await asker.exported()
    (listed,) = (await asker.get(f"{V3}/volumes")).json["volumes"]
    assert listed.keys() == {"id", "name", "links"}
    assert listed["id"] == VOLUME


async def test_a_list_is_cut_into_pages_that_lead_to_each_other() -> None:
    async with asking(FIVE) as asker:
        first = (await asker.get(f"{V3}/volumes?limit=99")).json  # cut to the page limit, not refused
        assert [volume["name"] for volume in first["volumes"]] == ["v4", "v3", "v2"]
        path = first["volumes_links"][0]["href"].removeprefix(asker.sandbox.url)
        second = (await asker.get(path)).json
        assert [volume["name"] for volume in second["volumes"]] == ["v1", "v0"]
        assert "volumes_links" not in second


async def test_volumes_of_one_status_are_listed(asker: Asker) -> None:
    await asker.exported()
    asker.clock.at += 60
    await asker.exported(volume_id=OTHER_VOLUME)
    for api in (V2, V3):
        uploading = (await asker.get(f"{api}/volumes?status=uploading&limit=1000")).json["volumes"]
        assert [volume["id"] for volume in uploading] == [OTHER_VOLUME]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=v3", ["v3"]),
        ("size=49", ["v1"]),
        ("bootable=true", []),
        ("availability_zone=sandbox-az-1&limit=1", ["v4"]),
        ("sort=size:asc&limit=2", ["v4", "v3"]),
        ("sort=size&limit=2", ["v0", "v1"]),
        ("sort_key=name&sort_dir=asc&limit=2", ["v0", "v1"]),
        ("sort=status,id:asc&limit=2", ["v0", "v1"]),
        ("sort=created_at:asc,updated_at,name:desc&limit=2", ["v4", "v3"]),
        (f"sort=name:asc&marker={FIVE.volumes[2].volume_id}", ["v3", "v4"]),
        ("limit=0", []),
        ("unknown=1&limit=1", ["v4"]),
    ],
)
async def test_a_list_is_filtered_and_sorted(query: str, expected: list[str]) -> None:
    async with asking(FIVE) as asker:
        assert await names(asker, query) == expected


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("limit=-1", 400, "limit param must be positive"),
        ("limit=abc", 400, "limit param must be an integer"),
        ("marker=nope", 404, "Volume nope could not be found."),
        ("sort=nope:asc", 400, "Invalid input received: Invalid sort key"),
        ("nofilter=1", 400, "Invalid filters nofilter are found in query options."),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(
    asker: Asker, query: str, status: int, message: str
) -> None:
    answer = await asker.get(f"{V3}/volumes?{query}", headers=NEWEST)
    (fault,) = answer.json.values()
    assert (answer.status, fault["message"]) == (status, message)


async def test_a_failed_export_leaves_a_message_with_its_request_id() -> None:
    async with asking(FAILING) as asker:
        accepted = await asker.export()
        assert (await asker.get(f"{V3}/messages", headers=NEWEST)).json["messages"] == []
        asker.clock.at += 60
        (message,) = (await asker.get(f"{V3}/messages", headers=NEWEST)).json["messages"]
        assert message["request_id"] == accepted.headers["x-openstack-request-id"]
        assert message["resource_uuid"] == VOLUME
        assert message["event_id"] == "VOLUME_VOLUME_003_004"
        shown = await asker.get(f"{V3}/messages/{message['id']}", headers=NEWEST)
        assert shown.json["message"] == message


async def test_messages_are_filtered_and_paged() -> None:
    async with asking(FAILING) as asker:
        for volume_id in (VOLUME, OTHER_VOLUME):
            await asker.exported(volume_id=volume_id)
        asker.clock.at += 60
        chosen = (await asker.get(f"{V3}/messages?resource_uuid={VOLUME}", headers=NEWEST)).json["messages"]
        assert [message["resource_uuid"] for message in chosen] == [VOLUME]
        first = (await asker.get(f"{V3}/messages?limit=1", headers=NEWEST)).json
        path = first["messages_links"][0]["href"].removeprefix(asker.sandbox.url)
        second = (await asker.get(path, headers=NEWEST)).json
        assert [page["messages"][0]["resource_uuid"] for page in (first, second)] == [OTHER_VOLUME, VOLUME]
        old = {"OpenStack-API-Version": "volume 3.3"}  # which knows messages, but no pages of them
        assert len((await asker.get(f"{V3}/messages?limit=1", headers=old)).json["messages"]) == 2


@pytest.mark.parametrize("path", ["messages", "messages/nope"])
async def test_there_are_no_messages_below_3_3(asker: Asker, path: str) -> None:
    answer = await asker.get(f"{V3}/{path}")
    fault = {"code": 404, "message": "The resource could not be found."}
    assert (answer.status, answer.json) == (404, {"itemNotFound": fault})


async def test_an_unknown_message_is_not_found() -> None:
    async with asking(FAILING) as asker:
        await asker.exported()
        asker.clock.at += 60
        answer = await asker.get(f"{V3}/messages/nope", headers=NEWEST)
        assert answer.json["itemNotFound"]["message"] == "Message nope could not be found."


async def test_a_method_that_a_path_does_not_know_is_refused(asker: Asker) -> None:
    answer = await asker.ask("PATCH", f"{V3}/volumes/{VOLUME}")
    assert (answer.status, answer.json["badMethod"]["code"]) == (405, 405)

"""The evs profile: EVS, IMS and the gateway in front of them, with tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from batchexport.sandbox import Profile, SandboxSettings, SandboxVolume
from batchexport.sandbox.settings import PROJECT_ID
from tests.sandbox.asking import ACTION, OTHER_VOLUME, V3, VOLUME, Answer, Asker, asking, by_password

EVS = f"/evs/v2/{PROJECT_ID}"
EVS3 = f"/evs/v3/{PROJECT_ID}"
IMAGES = "/ims/v2/images"
CLOUD_IMAGES = "/ims/v2/cloudimages"
IN_USE = SandboxVolume(volume_id=OTHER_VOLUME, name="used", status="in-use")


@pytest.fixture
async def evs() -> AsyncIterator[Asker]:
    async with asking(SandboxSettings(profile=Profile.EVS, volumes=[IN_USE])) as ready:
        yield ready


async def export(evs: Asker, *, volume_id: str = VOLUME, **options: object) -> Answer:
    body = {ACTION: {"image_name": "an-image", **options}}
    return await evs.act(body, volume_id=volume_id, api=EVS)


def fault(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal by EVS or IMS itself."""
    return answer.status, answer.json["error"]["code"]


async def test_the_catalog_has_volumev2_and_ecs(evs: Asker) -> None:
    answer = await evs.sign_in(identity=by_password())
    urls = {service["type"]: service["endpoints"][0]["url"] for service in answer.json["token"]["catalog"]}
    assert urls == {
        "identity": f"{evs.sandbox.url}/identity/v3",
        "image": f"{evs.sandbox.url}/ims",
        "volumev2": f"{evs.sandbox.url}{EVS}",
        "compute": f"{evs.sandbox.url}/ecs/v2.1/{PROJECT_ID}",
        "ecs": f"{evs.sandbox.url}/ecs/v1/{PROJECT_ID}",
    }


async def test_an_export_answers_as_the_document_says(evs: Asker) -> None:
    answer = await export(evs, __os_type="windows")
    assert answer.status == 202
    accepted = answer.json[ACTION]
    assert (accepted["status"], accepted["disk_format"], accepted["id"]) == ("uploading", "vhd", VOLUME)
    assert "visibility" not in accepted


async def test_what_is_not_published_is_refused_by_the_gateway(evs: Asker) -> None:
    for path in (f"{V3}/volumes", "/image/v2/images", f"{EVS}/messages", "/evs"):
        answer = await evs.get(path)
        assert (answer.status, answer.json["error_code"]) == (404, "APIGW.0101")


async def test_a_bad_token_is_a_400_of_evs_and_a_401_before_ims(evs: Asker) -> None:
    evs.token = "made-up"
    assert fault(await evs.get(f"{EVS}/volumes")) == (400, "EVS.0002")
    answer = await evs.get(IMAGES)
    assert (answer.status, answer.json["error_code"]) == (401, "APIGW.0301")
    assert "decrypt token fail" in answer.json["error_msg"]


async def test_no_credentials_at_all_stop_at_the_gateway(evs: Asker) -> None:
    evs.token = ""
    answer = await evs.get(f"{EVS}/volumes")
    assert (answer.status, answer.json["error_code"]) == (401, "APIGW.0301")
    assert set(answer.json) == {"error_msg", "error_code", "request_id"}


async def test_a_volume_in_use_is_exported_only_with_force(evs: Asker) -> None:
    refused = await export(evs, volume_id=OTHER_VOLUME)
    assert fault(refused) == (400, "EVS.5400")
    assert refused.json["error"]["message"] == "Must specify a valid status."
    assert (await export(evs, volume_id=OTHER_VOLUME, force=True)).status == 202


async def test_refusals_carry_the_codes_of_evs(evs: Asker) -> None:
    assert fault(await evs.get(f"{EVS}/volumes/{'0' * 8}")) == (404, "EVS.5404")
    assert fault(await export(evs, visibility="private")) == (400, "EVS.5400")
    for path in ("volumes", f"volumes/{VOLUME}"):
        assert fault(await evs.get(f"/evs/v2/{'0' * 32}/{path}")) == (400, "EVS.0001")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many"])
async def test_a_limit_beyond_a_thousand_is_refused_and_not_cut(evs: Asker, limit: str) -> None:
    assert fault(await evs.get(f"{EVS}/volumes/detail?limit={limit}")) == (400, "EVS.1023")


async def test_cloudvolumes_say_the_same(evs: Asker) -> None:
    await export(evs)
    listed = (await evs.get(f"{EVS}/cloudvolumes/detail?limit=1000")).json["volumes"]
    assert {volume["id"]: volume["status"] for volume in listed} == {
        VOLUME: "uploading",
        OTHER_VOLUME: "in-use",
    }
    assert (await evs.get(f"{EVS}/cloudvolumes/{VOLUME}")).json["volume"]["status"] == "uploading"


async def test_links_lead_back_to_evs(evs: Asker) -> None:
    volume = (await evs.get(f"{EVS}/volumes/{VOLUME}")).json["volume"]
    assert volume["links"][0]["href"] == f"{evs.sandbox.url}{EVS}/volumes/{VOLUME}"


async def test_ims_shows_no_size_and_the_checksum_of_nothing(evs: Asker) -> None:
    image_id = (await export(evs, __os_type="windows")).json[ACTION]["image_id"]
    evs.clock.at += 600
    image = (await evs.get(f"{IMAGES}/{image_id}")).json
    assert (image["status"], image["size"], image["checksum"]) == (
        "active",
        0,
        "d41d8cd98f00b204e9800998ecf8427e",
    )
    assert int(image["__image_size"]) > 0
    assert (image["__os_type"], image["__imagetype"], image["__isregistered"]) == (
        "Windows",
        "private",
        "true",
    )


async def test_cloudimages_has_only_what_is_finished(evs: Asker) -> None:
    image_id = (await export(evs)).json[ACTION]["image_id"]
    assert [image["id"] for image in (await evs.get(IMAGES)).json["images"]] == [image_id]
    assert (await evs.get(CLOUD_IMAGES)).json["images"] == []
    evs.clock.at += 600
    for query, found in {"__imagetype=private": [image_id], "__imagetype=gold": []}.items():
        listed = (await evs.get(f"{CLOUD_IMAGES}?{query}")).json["images"]
        assert [image["id"] for image in listed] == found


async def test_ims_pages_lead_to_the_next(evs: Asker) -> None:
    for volume_id in (VOLUME, OTHER_VOLUME):
        await export(evs, volume_id=volume_id, force=True)
    first = (await evs.get(f"{IMAGES}?limit=1")).json
    second = (await evs.get(f"/ims{first['next']}")).json
    assert {page["images"][0]["name"] for page in (first, second)} == {"an-image"}
    assert first["images"][0]["id"] != second["images"][0]["id"]


async def test_the_quota_counts_the_images(evs: Asker) -> None:
    await export(evs)
    (resource,) = (await evs.get("/ims/v1/cloudimages/quota")).json["quotas"]["resources"]
    assert (resource["type"], resource["used"], resource["quota"]) == ("image", 1, 100_000)


async def test_ims_takes_no_lists_of_values(evs: Asker) -> None:
    assert fault(await evs.get(f"{IMAGES}?status=in:queued,saving")) == (400, "IMG.0001")


async def test_an_image_that_is_not_there_is_not_found(evs: Asker) -> None:
    assert (await evs.get(f"{IMAGES}/{VOLUME}")).status == 404
    assert (await evs.ask("DELETE", f"{IMAGES}/{VOLUME}")).status == 404


async def test_the_gateway_throttles_under_its_own_name() -> None:
    settings = SandboxSettings(profile=Profile.EVS, rate=1, burst=1)
    async with asking(settings) as evs:
        assert (await export(evs)).status == 202
        answer = await export(evs)
        assert (answer.status, answer.json["error_code"]) == (429, "APIGW.0308")


@pytest.mark.parametrize(
    "path", [f"{EVS}/cloudsnapshots", f"{EVS}/snapshots", EVS.replace("v2", "v3") + "/snapshots"]
)
async def test_a_snapshot_and_a_volume_of_it_come_and_go(evs: Asker, path: str) -> None:
    body = {"snapshot": {"volume_id": OTHER_VOLUME, "name": "s", "force": True, "metadata": {"run": "1"}}}
    answer = await evs.ask("POST", path, json=body)
    assert answer.status == 202, answer.text
    snapshot_id = answer.json["snapshot"]["id"]
    evs.clock.at += 60
    shown = (await evs.get(f"{path}/{snapshot_id}")).json["snapshot"]
    assert (shown["status"], shown["metadata"]) == ("available", {"run": "1"})
    assert [each["id"] for each in (await evs.get(f"{path}/detail")).json["snapshots"]] == [snapshot_id]
    wanted = {"snapshot_id": snapshot_id, "availability_zone": "sandbox-az-1", "size": 10, "name": "t"}
    made = await evs.ask("POST", f"{EVS}/volumes", json={"volume": wanted})
    assert made.status == 202, made.text
    volume_id = made.json["volume"]["id"]
    evs.clock.at += 60
    assert (await export(evs, volume_id=volume_id)).status == 202
    evs.clock.at += 600
    for gone in (f"{EVS}/cloudvolumes/{volume_id}", f"{path}/{snapshot_id}"):
        assert (await evs.ask("DELETE", gone)).status == 202
        evs.clock.at += 60
        assert (await evs.get(gone)).status == 404


@pytest.mark.parametrize(
    "fields",
    [{"name": "n" * 65}, {"description": "d" * 86}, {"name": "autobk_snapshot_1"}, {"volume_id": "x"}],
)
async def test_evs_takes_shorter_names_and_none_of_its_own(evs: Asker, fields: dict[str, str]) -> None:
    answer = await evs.ask("POST", f"{EVS}/cloudsnapshots", json={"snapshot": {"volume_id": VOLUME} | fields})
    assert answer.status in (400, 404) and answer.json["error"]["code"].startswith("EVS.")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source_volid": VOLUME, "availability_zone": "a"}, "from another disk"),
        ({"snapshot_id": "s", "size": 1}, "availability_zone"),
    ],
)
async def test_evs_clones_no_volumes_and_wants_a_zone(
    evs: Asker, fields: dict[str, object], words: str
) -> None:
    answer = await evs.ask("POST", f"{EVS}/volumes", json={"volume": fields})
    assert answer.status == 400 and words in answer.json["error"]["message"]

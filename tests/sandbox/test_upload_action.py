"""The answers to `os-volume_upload_image`, word for word as a real Cinder 29 and Glance 33 gave them."""

from __future__ import annotations

import asyncio

import pytest

from batchexport.sandbox import SandboxSettings, SandboxVolume
from tests.sandbox.asking import ACTION, NEWEST, V2, V3, VOLUME, Answer, Asker, asking

FORMATS = "['raw', 'vmdk', 'vdi', 'qcow2', 'vhd', 'vhdx', 'ploop']"
NO_SUCH_ACTION = "Verify the request body and Content-Type header and try again."
INVALID = "Invalid input for field/attribute"
FLAGS = (
    "[True, 'True', 'TRUE', 'true', '1', 'ON', 'On', 'on', 'YES', 'Yes', 'yes', 'y', 't', "
    "False, 'False', 'FALSE', 'false', '0', 'OFF', 'Off', 'off', 'NO', 'No', 'no', 'n', 'f']"
)
IN_USE = SandboxSettings(volumes=[SandboxVolume(volume_id=VOLUME, name="v", status="in-use")])


def bad_request(answer: Answer) -> str:
    assert answer.status == 400, answer.text
    assert answer.json["badRequest"]["code"] == 400
    return str(answer.json["badRequest"]["message"])


async def test_an_accepted_export_is_answered_with_the_image_id(asker: Asker) -> None:
    answer = await asker.export("img", protected=True)
    accepted = answer.json[ACTION]
    assert answer.status == 202
    assert accepted.pop("image_id") == (await asker.get("/image/v2/images")).json["images"][0]["id"]
    assert set(accepted.pop("volume_type")) >= {"id", "name", "extra_specs", "is_public", "deleted"}
    assert 10 <= accepted.pop("size") <= 500
    assert accepted == {
        "id": VOLUME,
        "updated_at": None,
        "status": "uploading",
        "display_description": None,
        "container_format": "bare",
        "disk_format": "raw",
        "image_name": "img",
        "protected": True,
        "visibility": "private",
    }
    assert answer.headers["OpenStack-API-Version"] == "volume 3.71"


async def test_below_3_1_an_image_is_shared(asker: Asker) -> None:
    answer = await asker.act({ACTION: {"image_name": "img"}})
    assert answer.json[ACTION]["visibility"] == "shared"
    assert answer.headers["OpenStack-API-Version"] == "volume 3.0"


async def test_evs_fills_in_its_own_defaults_and_names_no_visibility(asker: Asker) -> None:
    answer = await asker.act({ACTION: {"image_name": "导出 1", "__os_type": "windows"}}, api=V2)
    accepted = answer.json[ACTION]
    assert answer.status == 202
    assert (accepted["disk_format"], accepted["container_format"]) == ("vhd", "bare")
    assert accepted.keys().isdisjoint({"visibility", "protected"})
    image = (await asker.get(f"/image/v2/images/{accepted['image_id']}")).json
    assert image["__os_type"] == "windows"
    assert "OpenStack-API-Version" not in answer.headers


@pytest.mark.parametrize("disk_format", ["vhd", "zvhd", "zvhd2", "raw", "qcow2"])
async def test_evs_takes_its_own_formats(asker: Asker, disk_format: str) -> None:
    answer = await asker.act({ACTION: {"image_name": "i", "disk_format": disk_format}}, api=V2)
    assert answer.json[ACTION]["disk_format"] == disk_format


@pytest.mark.parametrize(
    "options",
    [
        {"image_name": "i", "disk_format": "vmdk"},
        {"image_name": "i", "container_format": "docker"},
        {"image_name": "i", "__os_type": "Windows"},
        {"image_name": "i", "visibility": "private"},
        {"image_name": " i"},
        {"image_name": "i/j"},
        {"image_name": "i" * 129},
    ],
)
async def test_evs_refuses_what_it_does_not_document(asker: Asker, options: dict[str, object]) -> None:
    assert bad_request(await asker.act({ACTION: options}, api=V2)).startswith(INVALID)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, f"{INVALID} {ACTION}. Value: None. None is not of type 'object'"),
        ({}, f"{INVALID} {ACTION}. Value: {{}}. 'image_name' is a required property"),
        ({"image_name": ""}, f"{INVALID} image_name. Value: . '' should be non-empty"),
        ({"image_name": 5}, f"{INVALID} image_name. Value: 5. 5 is not of type 'string'"),
        (
            {"image_name": "a" * 256},
            f"{INVALID} image_name. Value: {'a' * 256}. '{'a' * 256}' is too long",
        ),
        (
            {"image_name": "a", "disk_format": "iso"},
            f"{INVALID} disk_format. Value: iso. 'iso' is not one of {FORMATS}",
        ),
        (
            {"image_name": "a", "disk_format": 5},
            f"{INVALID} disk_format. Value: 5. 5 is not of type 'string'",
        ),
        (
            {"image_name": "a", "container_format": 5},
            f"{INVALID} container_format. Value: 5. 5 is not of type 'string', 'null'",
        ),
        (
            {"image_name": "a", "__os_type": "linux"},
            f"{INVALID} {ACTION}. Value: {{'image_name': 'a', '__os_type': 'linux'}}. "
            "Additional properties are not allowed ('__os_type' was unexpected)",
        ),
        (
            {"image_name": "a", "visibility": "zzz"},
            f"{INVALID} visibility. Value: zzz. "
            "'zzz' is not one of ['community', 'public', 'private', 'shared']",
        ),
        ({"image_name": "a", "force": "zz"}, f"{INVALID} force. Value: zz. 'zz' is not one of {FLAGS}"),
        ({"image_name": "a", "protected": 1}, f"{INVALID} protected. Value: 1. 1 is not one of {FLAGS}"),
    ],
)
async def test_cinder_names_the_field_it_refuses(asker: Asker, options: object, message: str) -> None:
    assert bad_request(await asker.act({ACTION: options}, headers=NEWEST)) == message


async def test_cinder_takes_no_visibility_below_3_1(asker: Asker) -> None:
    message = bad_request(await asker.act({ACTION: {"image_name": "a", "visibility": "private"}}))
    assert message.endswith("Additional properties are not allowed ('visibility' was unexpected)")


async def test_a_member_may_not_publish_an_image(asker: Asker) -> None:
    answer = await asker.export(visibility="public")
    words = "Policy doesn't allow volume_extension:volume_actions:upload_public to be performed."
    assert (answer.status, answer.json) == (403, {"forbidden": {"code": 403, "message": words}})


async def test_glances_refusal_of_a_container_is_passed_on_and_starts_nothing(asker: Asker) -> None:
    message = bad_request(await asker.export(container_format="zip"))
    assert message.startswith(
        "Unable to set 'container_format' to 'zip'. Reason: 'zip' is not one of [None, 'ami'"
    )
    assert asker.sandbox.exports_per_volume == {}


async def test_no_container_at_all_means_bare(asker: Asker) -> None:
    assert (await asker.export(container_format=None)).json[ACTION]["container_format"] == "bare"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", f"There is no such action: None. {NO_SUCH_ACTION}"),
        (b"xx", "Malformed request body"),
        (b"{}", "Malformed request body"),
        (b"[]", "Malformed request body"),
        (b'{"os-a": {}, "os-b": {}}', "Malformed request body"),
        (b'{"os-nope": {}}', f"There is no such action: os-nope. {NO_SUCH_ACTION}"),
    ],
)
async def test_another_body_is_a_bad_request(asker: Asker, body: bytes, message: str) -> None:
    answer = await asker.ask("POST", f"{V3}/volumes/{VOLUME}/action", data=body)
    assert bad_request(answer) == message


@pytest.mark.parametrize("volume_id", ["nope", "0b9f7d0c6f5d4c439c588f1f2f6f2a01"])
async def test_an_unknown_volume_is_not_found(asker: Asker, volume_id: str) -> None:
    answer = await asker.export(volume_id=volume_id)
    fault = {"code": 404, "message": f"Volume {volume_id} could not be found."}
    assert (answer.status, answer.json) == (404, {"itemNotFound": fault})


async def test_another_projects_id_in_the_url_is_malformed(asker: Asker) -> None:
    answer = await asker.act({ACTION: {"image_name": "a"}}, api="/volume/v3/deadbeef")
    assert bad_request(answer) == "Malformed request url"


async def test_a_volume_that_is_uploading_is_refused(asker: Asker) -> None:
    await asker.exported()
    message = bad_request(await asker.export())
    assert message == f"Invalid volume: Volume {VOLUME} status must be available"
    assert asker.sandbox.exports_per_volume == {VOLUME: 1}


async def test_of_many_requests_for_one_volume_one_is_accepted(asker: Asker) -> None:
    answers = await asyncio.gather(*(asker.export(f"image-{number}") for number in range(20)))
    assert sorted(answer.status for answer in answers) == [202] + [400] * 19


async def test_force_is_dropped_in_silence_by_default() -> None:
    async with asking(IN_USE) as asker:
        message = f"Invalid volume: Volume {VOLUME} status must be available"
        assert bad_request(await asker.export(force=True)) == message


async def test_force_exports_a_volume_in_use_where_it_is_allowed() -> None:
    async with asking(SandboxSettings(volumes=IN_USE.volumes, force_upload=True)) as asker:
        assert bad_request(await asker.export()).endswith("must be available")
        await asker.exported(force="yes")
        assert bad_request(await asker.export(force=True)).endswith("must be available or in-use")
        asker.clock.at += 600
        assert (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]["status"] == "in-use"


async def test_a_body_too_large_is_refused_as_over_limit(asker: Asker) -> None:
    answer = await asker.export("a" * 200_000)
    assert (answer.status, answer.json["overLimit"]["code"]) == (413, 413)


@pytest.mark.parametrize(
    ("version", "status", "message"),
    [
        (
            "volume 3.999",
            406,
            "Version 3.999 is not supported by the API. Minimum is 3.0 and maximum is 3.71.",
        ),
        (
            "volume abc",
            400,
            "API Version String abc is of invalid format. Must be of format MajorNum.MinorNum.",
        ),
    ],
)
async def test_a_microversion_out_of_range_is_refused(
    asker: Asker, version: str, status: int, message: str
) -> None:
    answer = await asker.get(f"{V3}/volumes", headers={"OpenStack-API-Version": version})
    (fault,) = answer.json.values()
    assert (answer.status, fault) == (status, {"code": status, "message": message})


@pytest.mark.parametrize("version", ["volume latest", "compute 2.1, volume 3.5", "compute 2.1"])
async def test_a_microversion_is_read_from_a_shared_header(asker: Asker, version: str) -> None:
    answer = await asker.get(f"{V3}/volumes", headers={"OpenStack-API-Version": version})
    assert answer.status == 200

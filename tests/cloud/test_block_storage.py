from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.cloud.block_storage import BlockStorage
from batchexport.cloud.http.paging import PAGE_SIZE
from batchexport.dialect import CINDER, EVS, Dialect
from batchexport.errors import (
    AuthenticationError,
    FatalError,
    OutcomeUnknownError,
    RefusedError,
    ThrottledError,
    TransientError,
)
from batchexport.model import Accepted, ExportRequest, ImageOptions, Volume, VolumeDetails
from tests.cloud.conftest import Bench
from tests.cloud.scripted import Reply, Seen

DETAILED = {
    "id": "v1",
    "status": "In-Use",
    "size": "40",
    "name": None,
    "attachments": [{"server_id": "s1", "device": "/dev/vdb"}, {"server_id": None}],
    "metadata": {"x": 1},
}
ACCEPTED = {
    "os-volume_upload_image": {"image_id": "i1", "size": 40, "status": "uploading", "volume_type": None}
}


def volumes(bench: Bench, dialect: Dialect = CINDER) -> BlockStorage:
    return BlockStorage(bench.session, bench.endpoint, dialect)


def request(**options: Any) -> ExportRequest:
    return ExportRequest(volume_id="v1", image_name="img", options=ImageOptions(**options))


NONE_LISTED = Reply(200, {"volumes": []})


async def export(
    bench: Bench, dialect: Dialect = CINDER, **options: str | bool
) -> tuple[dict[str, object], Accepted]:
    accepted = await volumes(bench, dialect).upload_volume_to_image(request(**options), fence=lambda: None)
    return json.loads(bench.server.seen[-1].body)["os-volume_upload_image"], accepted


async def listed(bench: Bench, dialect: Dialect = CINDER, status: str | None = None) -> list[list[Volume]]:
    return [list(page) async for page in volumes(bench, dialect).volumes(status=status)]


async def test_a_volume_is_read_in_our_words(bench: Bench) -> None:
    bench.server.answers(Reply(200, {"volume": DETAILED}))
    assert await volumes(bench).get_volume("v1") == Volume(
        volume_id="v1",
        status="in-use",
        size_gib=40,
        name=None,
        server_ids=("s1",),
        details=VolumeDetails(metadata={"x": "1"}),
    )


async def test_a_volume_the_cloud_does_not_know_is_none(bench: Bench) -> None:
    bench.server.answers(Reply(404, {"itemNotFound": {"code": 404, "message": "no"}}))
    assert await volumes(bench).get_volume("v/1") is None
    assert bench.server.seen[0].path == "/v3/p1/volumes/v%2F1"


async def test_all_volumes_come_with_their_details(bench: Bench) -> None:
    bench.server.answers(Reply(200, {"volumes": [DETAILED], "volumes_links": None}))
    assert [volume.size_gib for page in await listed(bench) for volume in page] == [40]
    assert bench.server.seen[0].path == "/v3/p1/volumes/detail?limit=1000"


async def test_cinder_lists_one_status_in_short(bench: Bench) -> None:
    bench.server.answers(NONE_LISTED, Reply(200, {"volumes": [{"id": "v1", "name": "n", "links": []}]}))
    assert await listed(bench, status="uploading") == [[Volume(volume_id="v1", status="uploading", name="n")]]
    assert bench.server.seen[1].path == "/v3/p1/volumes?status=uploading&limit=1000"


async def test_whether_a_status_is_heeded_is_asked_once(bench: Bench) -> None:
    bench.server.answers(NONE_LISTED, Reply(200, {"volumes": [{"id": "v1"}]}), NONE_LISTED)
    client = volumes(bench)
    for sizes in ([1], []):
        assert [len(page) async for page in client.volumes(status="uploading")] == sizes
    assert [seen.query.get("status") for seen in bench.server.seen] == [
        "no-such-status",
        "uploading",
        "uploading",
    ]


async def test_a_cloud_that_heeds_no_status_is_read_with_details(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    uploading = DETAILED | {"id": "v2", "status": "uploading"}
    bench.server.answers(
        Reply(200, {"volumes": [{"id": "v1"}]}), Reply(200, {"volumes": [DETAILED, uploading]})
    )
    assert [volume.volume_id for (volume,) in await listed(bench, status="uploading")] == ["v2"]
    assert bench.server.seen[1].path == "/v3/p1/volumes/detail?status=uploading&limit=1000"
    assert "does not list volumes by status" in caplog.text


async def test_a_cloud_that_refuses_an_unknown_status_heeds_it(bench: Bench) -> None:
    bench.server.answers(
        Reply(400, {"badRequest": {"code": 400, "message": "no such status"}}),
        Reply(200, {"volumes": [{"id": "v1"}]}),
    )
    assert [len(page) for page in await listed(bench, status="uploading")] == [1]
    assert bench.server.seen[1].path.startswith("/v3/p1/volumes?status=uploading")


async def test_evs_lists_one_status_with_details_and_strays_are_left_out(bench: Bench) -> None:
    stray = DETAILED | {"id": "v2", "status": "available"}
    bench.server.answers(Reply(200, {"volumes": [DETAILED, stray]}))
    found = await listed(bench, EVS, status="in-use")
    assert [volume.volume_id for volume in found[0]] == ["v1"]
    assert bench.server.seen[0].path == "/v3/p1/volumes/detail?status=in-use&limit=1000"


def paged(total: int, *, links: bool, page: int = PAGE_SIZE) -> Any:
    ids = [f"v{number:04}" for number in range(total)]

    def answer(seen: Seen) -> Reply:
        start = ids.index(seen.query["marker"]) + 1 if "marker" in seen.query else 0
        part = ids[start : start + page]
        more = [{"rel": "next", "href": "http://x"}] if links and start + page < total else []
        return Reply(200, {"volumes": [{"id": each} for each in part], "volumes_links": more})

    return answer


@pytest.mark.parametrize(
    ("total", "links", "page", "sizes"),
    [
        (0, False, 1000, []),
        (3, False, 1000, [3]),
        (1000, False, 1000, [1000]),
        (2500, False, 1000, [1000, 1000, 500]),
        (25, True, 10, [10, 10, 5]),
    ],
)
async def test_pages_are_followed_to_the_end(
    bench: Bench, total: int, links: bool, page: int, sizes: list[int]
) -> None:
    bench.server.answers(paged(total, links=links, page=page))
    found = await listed(bench)
    assert [len(each) for each in found] == sizes
    assert len({volume.volume_id for each in found for volume in each}) == total


async def test_a_server_that_repeats_a_page_is_not_followed_for_ever(bench: Bench) -> None:
    bench.server.answers(Reply(200, {"volumes": [{"id": "v1"}], "volumes_links": [{"rel": "next"}]}))
    with pytest.raises(TransientError, match="repeats a page"):
        await listed(bench)
    assert len(bench.server.seen) == 2


MORE = Reply(200, {"volumes": [{"id": "v1"}], "volumes_links": [{"rel": "next"}]})


async def test_a_marker_that_vanished_means_begin_again(bench: Bench) -> None:
    bench.server.answers(MORE, Reply(404, {"itemNotFound": {"code": 404, "message": "marker v1 not found"}}))
    with pytest.raises(TransientError, match="list changed while it was read: marker v1"):
        await listed(bench)


async def test_missing_rights_on_a_later_page_stay_missing_rights(bench: Bench) -> None:
    bench.server.answers(MORE, Reply(403))
    with pytest.raises(FatalError):
        await listed(bench)


async def test_a_refused_first_page_is_a_refusal(bench: Bench) -> None:
    bench.server.answers(Reply(400, {"error": {"code": "EVS.1023", "message": "bad limit"}}))
    with pytest.raises(RefusedError, match="bad limit"):
        await listed(bench)


async def test_an_accepted_export_gives_image_size_and_request_id(bench: Bench) -> None:
    bench.server.answers(Reply(202, ACCEPTED, {"x-openstack-request-id": "req-1"}))
    _, accepted = await export(bench)
    assert accepted == Accepted(image_id="i1", size_gib=40, request_id="req-1")
    assert bench.server.seen[0].path == "/v3/p1/volumes/v1/action"


async def test_nothing_is_left_to_the_clouds_defaults(bench: Bench) -> None:
    bench.server.answers(Reply(202, ACCEPTED))
    sent, _ = await export(bench)
    assert sent == {"image_name": "img", "disk_format": "raw", "container_format": "bare", "force": False}
    sent, _ = await export(bench, EVS)
    assert sent["disk_format"] == "vhd"


async def test_what_was_chosen_is_sent(bench: Bench) -> None:
    bench.server.answers(Reply(202, ACCEPTED))
    sent, _ = await export(
        bench, EVS, disk_format="zvhd2", container_format="ovf", force=True, os_type="windows"
    )
    assert sent == {
        "image_name": "img",
        "disk_format": "zvhd2",
        "container_format": "ovf",
        "force": True,
        "__os_type": "windows",
    }


async def test_cinder_is_not_sent_the_os_type(bench: Bench) -> None:
    bench.server.answers(Reply(202, ACCEPTED))
    sent, _ = await export(bench, os_type="linux")
    assert "__os_type" not in sent


@pytest.mark.parametrize(("name", "value"), [("visibility", "private"), ("protected", True)])
async def test_visibility_and_protection_come_with_their_microversion(
    bench: Bench, name: str, value: str | bool
) -> None:
    bench.server.answers(Reply(202, ACCEPTED))
    options: dict[str, Any] = {name: value}
    sent, _ = await export(bench, **options)
    assert sent[name] == value
    assert bench.server.seen[0].headers["OpenStack-API-Version"] == "volume 3.1"


async def test_without_them_no_microversion_is_asked_for(bench: Bench) -> None:
    bench.server.answers(Reply(202, ACCEPTED))
    await export(bench)
    assert "OpenStack-API-Version" not in bench.server.seen[0].headers


@pytest.mark.parametrize("version_and_dialect", [("v2", CINDER), ("v3", EVS)])
async def test_visibility_is_not_sent_where_it_would_be_refused(
    bench: Bench, version_and_dialect: tuple[str, Dialect]
) -> None:
    version, dialect = version_and_dialect
    bench.endpoint = replace(bench.endpoint, version=version)
    bench.server.answers(Reply(202, ACCEPTED))
    sent, _ = await export(bench, dialect, visibility="private", protected=True)
    assert not {"visibility", "protected"} & set(sent)


async def test_a_format_the_cloud_has_not_is_refused_before_sending(bench: Bench) -> None:
    with pytest.raises(RefusedError, match="zvhd2 is not supported by cinder; allowed: raw, vmdk"):
        await export(bench, disk_format="zvhd2")
    assert bench.server.seen == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        b"",
        b"<html>",
        b'{"os-volume_upload_image": {"image_id"',
        {"os-volume_upload_image": {"size": 1}},
        {"os-volume_upload_image": {"image_id": None}},
        {"os-volume_upload_image": {"image_id": " "}},
        {"os-volume_upload_image": []},
        b'{"os-volume_upload_image": {"image_id": "\xff"}}',
    ],
)
async def test_an_acceptance_without_an_image_id_is_unknown(
    bench: Bench, body: dict[str, object] | bytes
) -> None:
    bench.server.answers(Reply(202, body, {"x-openstack-request-id": "req-1"}))
    with pytest.raises(OutcomeUnknownError, match=r"the response \(202\) has no id of its image") as caught:
        await export(bench)
    assert caught.value.request_id == "req-1"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("id", "another-volume", "about volume 'another-volume'"), ("image_name", "db-02", "called 'db-02'")],
)
async def test_an_acceptance_of_another_request_is_unknown(
    bench: Bench, field: str, value: str, words: str
) -> None:
    """A proxy that mixes answers up, or a cache that repeats an earlier one."""
    body = {"os-volume_upload_image": {"image_id": "i1", field: value}}
    bench.server.answers(Reply(202, body))
    with pytest.raises(OutcomeUnknownError, match=words):
        await export(bench)


async def test_an_answer_about_another_volume_is_none_about_this(bench: Bench) -> None:
    bench.server.answers(Reply(200, {"volume": {"id": "v2", "status": "available", "size": 1}}))
    with pytest.raises(TransientError, match="requested volume v1, got another one"):
        await volumes(bench).get_volume("v1")


async def test_a_200_is_an_acceptance_too(bench: Bench) -> None:
    bench.server.answers(Reply(200, ACCEPTED))
    assert (await export(bench))[1].image_id == "i1"


async def test_flow_control_in_a_202_is_no_acceptance(bench: Bench) -> None:
    bench.server.answers(Reply(202, {"error": {"code": "Common.0024", "message": "too many"}}))
    with pytest.raises(ThrottledError, match="too many"):
        await export(bench)


MESSAGES = {
    "messages": [
        {
            "user_message": "copy:\n old",
            "request_id": "r1",
            "resource_uuid": "v1",
            "created_at": "2026-01-01T00:00:00",
        },
        {
            "user_message": "copy: new",
            "request_id": "r1",
            "resource_uuid": "v1",
            "created_at": "2026-01-02T00:00:00",
        },
        {
            "user_message": "other",
            "request_id": "r2",
            "resource_uuid": "v1",
            "created_at": "2026-01-03T00:00:00",
        },
        {"user_message": None, "request_id": "r3", "resource_uuid": "v3"},
    ]
}


@pytest.mark.parametrize(
    ("volume_id", "request_id", "reason"),
    [
        ("v1", "r1", "copy: new"),
        ("v1", None, "other"),
        ("v1", "r9", None),
        ("v9", None, None),
        ("v3", "r3", None),
    ],
)
async def test_the_reason_is_the_latest_message_on_the_request(
    bench: Bench, volume_id: str, request_id: str | None, reason: str | None
) -> None:
    bench.server.answers(Reply(200, MESSAGES))
    assert await volumes(bench).failure_reason(volume_id, request_id) == reason
    assert bench.server.seen[0].headers["OpenStack-API-Version"] == "volume 3.3"


@pytest.mark.parametrize("status", [400, 403, 404, 406])
async def test_a_cloud_that_keeps_no_messages_gives_no_reason(bench: Bench, status: int) -> None:
    bench.server.answers(Reply(status))
    assert await volumes(bench).failure_reason("v1", "r1") is None


async def test_evs_is_not_even_asked_for_messages(bench: Bench) -> None:
    assert await volumes(bench, EVS).failure_reason("v1", "r1") is None
    assert bench.server.seen == []


async def test_a_refused_sign_in_is_not_hidden_by_the_search_for_a_reason(bench: Bench) -> None:
    bench.server.answers(Reply(401))
    with pytest.raises(AuthenticationError):
        await volumes(bench).failure_reason("v1", "r1")


@pytest.mark.parametrize(
    ("record", "encrypted"),
    [({}, False), ({"encrypted": True}, True), ({"metadata": {"__system__encrypted": "1"}}, True)],
)
async def test_a_volume_is_encrypted_where_either_cloud_says_so(
    bench: Bench, record: dict[str, object], encrypted: bool
) -> None:
    bench.server.answers(Reply(200, {"volume": {"id": "v1", "status": "available"} | record}))
    found = await volumes(bench).get_volume("v1")
    assert found is not None and found.details is not None and found.details.encrypted is encrypted


async def test_a_list_of_all_volumes_tells_their_details_and_one_by_status_does_not(bench: Bench) -> None:
    long = DETAILED | {
        "availability_zone": "az1",
        "volume_type": "SSD",
        "volume_image_metadata": {"os_glance_x": "1", "gone": None},
    }
    bench.server.answers(Reply(200, {"volumes": [long]}))
    ((found,),) = await listed(bench)
    assert found.details == VolumeDetails(
        availability_zone="az1",
        volume_type="SSD",
        metadata={"x": "1"},
        image_metadata={"os_glance_x": "1"},
    )
    ((short,),) = await listed(bench, EVS, status="in-use")
    assert short.details is None

from __future__ import annotations

import json
from typing import Any

import pytest

from batchexport.cloud.copies import CopyService
from batchexport.dialect import CINDER, EVS, Dialect
from batchexport.errors import (
    CloudError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ThrottledError,
    TransientError,
    VolumeStateError,
)
from batchexport.model import Snapshot, SnapshotRequest, Volume, VolumeRequest
from tests.cloud.conftest import Bench
from tests.cloud.contract.site import Fence, ForbiddenByFenceError
from tests.cloud.scripted import Drop, Reply

MARK = {"batchexport_run": "r1"}
RECORD: dict[str, Any] = {
    "id": "s1",
    "status": "Creating",
    "volume_id": "v1",
    "size": "40",
    "name": "ours",
    "metadata": MARK,
    "created_at": "2026-11-27T18:19:34.368267",
}
MADE = {"id": "t1", "status": "creating", "size": 40, "name": "ours", "metadata": MARK, "snapshot_id": "s1"}


def client(bench: Bench, dialect: Dialect = CINDER) -> CopyService:
    return CopyService(bench.session, bench.endpoint, dialect, project_id="p1")


async def snap(bench: Bench, fence: Fence | None = None, dialect: Dialect = CINDER) -> Snapshot:
    request = SnapshotRequest(volume_id="v1", name="ours", description="why", metadata=MARK)
    return await client(bench, dialect).create_snapshot(request, fence=fence or Fence())


async def make(
    bench: Bench, fence: Fence | None = None, dialect: Dialect = CINDER, snapshot_id: str | None = "s1"
) -> Volume:
    request = VolumeRequest(
        name="ours",
        description="why",
        metadata=MARK,
        snapshot_id=snapshot_id,
        source_volume_id="v1" if snapshot_id is None else None,
        size_gib=40,
        volume_type="SSD",
        availability_zone="az1",
    )
    return await client(bench, dialect).create_volume(request, fence=fence or Fence())


async def found(bench: Bench, dialect: Dialect = CINDER) -> list[str]:
    pages = client(bench, dialect).marked_snapshots(MARK)
    return [each.snapshot_id async for page in pages for each in page]


@pytest.mark.parametrize(
    ("dialect", "path"), [(CINDER, "/v3/p1/snapshots"), (EVS, "/v3/p1/cloudsnapshots")], ids=str
)
async def test_a_snapshot_of_a_volume_in_use_is_asked_for_once(
    bench: Bench, dialect: Dialect, path: str
) -> None:
    bench.server.answers(Reply(202, {"snapshot": RECORD}))
    fence = Fence()
    made = await snap(bench, fence, dialect)
    assert (made.snapshot_id, made.status, made.size_gib, made.metadata) == ("s1", "creating", 40, MARK)
    assert made.created_at == pytest.approx(1795803574.37, abs=0.01)
    (seen,) = bench.server.seen
    assert (seen.path, fence.calls) == (path, 1)
    assert json.loads(seen.body)["snapshot"] == {
        "volume_id": "v1",
        "name": "ours",
        "description": "why",
        "metadata": MARK,
        "force": True,
    }


async def test_a_fence_forbids_each_request_that_changes_something(bench: Bench) -> None:
    ours = client(bench)
    for send in (
        lambda fence: snap(bench, fence),
        lambda fence: make(bench, fence),
        lambda fence: ours.delete_snapshot("s1", fence=fence),
        lambda fence: ours.delete_volume("t1", fence=fence),
        lambda fence: ours.set_image_metadata("t1", {"id": "i1"}, fence=fence),
    ):
        with pytest.raises(ForbiddenByFenceError):
            await send(Fence(forbids=True))
    assert bench.server.seen == []


@pytest.mark.parametrize("answer", [Drop(), Reply(502), Reply(500), Reply(202, "<html>"), Reply(202, {})])
async def test_a_lost_or_odd_answer_is_in_doubt_and_nothing_is_sent_again(
    bench: Bench, answer: Drop | Reply
) -> None:
    bench.server.answers(answer)
    for send in (snap, make):
        with pytest.raises(OutcomeUnknownError):
            await send(bench)
    assert len(bench.server.seen) == 2


@pytest.mark.parametrize("wrong", [{"volume_id": "v2"}, {"name": "theirs"}, {"id": "../v1"}])
async def test_an_answer_about_another_snapshot_is_in_doubt(bench: Bench, wrong: dict[str, str]) -> None:
    bench.server.answers(Reply(202, {"snapshot": RECORD | wrong}))
    with pytest.raises(OutcomeUnknownError):
        await snap(bench)


@pytest.mark.parametrize("wrong", [{"name": "theirs"}, {"id": ""}, {"snapshot_id": "s2"}])
async def test_an_answer_about_another_volume_is_in_doubt(bench: Bench, wrong: dict[str, str]) -> None:
    bench.server.answers(Reply(202, {"volume": MADE | wrong}))
    with pytest.raises(OutcomeUnknownError):
        await make(bench)


async def test_cinder_takes_size_and_type_from_the_snapshot_and_evs_wants_to_hear_them(bench: Bench) -> None:
    bench.server.answers(Reply(202, {"volume": MADE}))
    made = await make(bench)
    await make(bench, dialect=EVS)
    assert (made.volume_id, made.details and made.details.snapshot_id) == ("t1", "s1")
    cinder, evs = (json.loads(seen.body)["volume"] for seen in bench.server.seen)
    common = {"name": "ours", "description": "why", "metadata": MARK, "snapshot_id": "s1"}
    assert cinder == common
    assert evs == {**common, "size": 40, "volume_type": "SSD", "availability_zone": "az1"}


async def test_a_clone_is_asked_of_cinder_alone(bench: Bench) -> None:
    bench.server.answers(Reply(202, {"volume": MADE | {"snapshot_id": None, "source_volid": "v1"}}))
    made = await make(bench, snapshot_id=None)
    assert made.details is not None
    assert made.details.source_volume_id == "v1"
    with pytest.raises(RefusedError, match="not sent"):
        await make(bench, dialect=EVS, snapshot_id=None)
    (seen,) = bench.server.seen
    assert json.loads(seen.body)["volume"]["source_volid"] == "v1"
    bench.server.answers(Reply(202, {"volume": MADE | {"id": "v1", "snapshot_id": None}}))
    with pytest.raises(OutcomeUnknownError, match="to be copied"):
        await make(bench, snapshot_id=None)


async def test_snapshots_are_listed_by_metadata_where_that_is_heeded(bench: Bench) -> None:
    bench.server.answers(Reply(200, {"snapshots": [RECORD, RECORD | {"id": "s2", "metadata": None}]}))
    assert await found(bench) == await found(bench, EVS) == ["s1", "s2"]
    cinder, evs = bench.server.seen
    assert cinder.path.startswith("/v3/p1/snapshots/detail?metadata=%7B%22batchexport_run%22:%20%22r1%22%7D")
    assert cinder.headers["OpenStack-API-Version"] == "volume 3.22"
    assert evs.path == "/v3/p1/snapshots/detail?limit=1000"
    assert "OpenStack-API-Version" not in evs.headers


async def test_a_cinder_too_old_for_the_filter_is_asked_for_all_snapshots(bench: Bench) -> None:
    def answer(seen: Any) -> Reply:
        old = "OpenStack-API-Version" in seen.headers
        return Reply(406, {"itemNotFound": {}}) if old else Reply(200, {"snapshots": [RECORD]})

    bench.server.answers(answer)
    ours = client(bench)
    for _ in range(2):
        assert [each.snapshot_id async for page in ours.marked_snapshots(MARK) for each in page] == ["s1"]
    assert len(bench.server.seen) == 3  # the second list knows


async def test_temporary_volumes_are_listed_with_what_they_are_made_of(bench: Bench) -> None:
    attached = MADE | {"id": "t2", "attachments": [{"server_id": "x"}]}
    bench.server.answers(Reply(200, {"volumes": [MADE, attached]}))
    (page,) = [page async for page in client(bench).marked_volumes(MARK)]
    assert [(each.volume_id, each.server_ids) for each in page] == [("t1", ()), ("t2", ("x",))]
    assert [each.details.snapshot_id for each in page if each.details] == ["s1", "s1"]
    assert "metadata=" in bench.server.seen[0].path
    assert [page async for page in client(bench, EVS).marked_volumes(MARK)] == [page]
    assert "metadata=" not in bench.server.seen[1].path


async def test_a_snapshot_is_read_by_its_id(bench: Bench) -> None:
    bench.server.answers(
        Reply(200, {"snapshot": RECORD | {"group_snapshot_id": "g"}}),
        Reply(404, {"itemNotFound": {"code": 404, "message": "no"}}),
        Reply(200, {"snapshot": RECORD | {"id": "s2"}}),
    )
    ours = client(bench)
    snapshot = await ours.get_snapshot("s1")
    assert snapshot is not None
    assert snapshot.in_group
    assert await ours.get_snapshot("s1") is None
    with pytest.raises(TransientError):
        await ours.get_snapshot("s1")


async def test_image_metadata_is_set_by_an_action(bench: Bench) -> None:
    bench.server.answers(Reply(200, {"metadata": {"id": "i1"}}))
    await client(bench).set_image_metadata("t1", {"id": "i1"}, fence=Fence())
    (seen,) = bench.server.seen
    assert seen.path == "/v3/p1/volumes/t1/action"
    assert json.loads(seen.body) == {"os-set_image_metadata": {"metadata": {"id": "i1"}}}


async def test_a_deletion_is_one_request_without_a_body_and_never_takes_snapshots_along(bench: Bench) -> None:
    bench.server.answers(Reply(202), Reply(202), Reply(404, {"itemNotFound": {"code": 404}}))
    ours = client(bench)
    await ours.delete_volume("t1", fence=Fence())
    await ours.delete_snapshot("s1", fence=Fence())
    with pytest.raises(NotFoundError):
        await ours.delete_snapshot("s1", fence=Fence())
    assert [(seen.method, seen.path, seen.body) for seen in bench.server.seen[:2]] == [
        ("DELETE", "/v3/p1/volumes/t1", b""),
        ("DELETE", "/v3/p1/snapshots/s1", b""),
    ]


OVER = "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota."
MADE_ERRORS = [
    (413, "SnapshotLimitExceeded: Maximum number of snapshots allowed (16) exceeded", QuotaError),
    (413, OVER, QuotaError),
    (413, "VolumeSizeExceedsLimit: Requested volume size 1G is larger than maximum allowed", QuotaError),
    (413, "This request was rate-limited.", ThrottledError),
    (400, "Invalid volume: Volume v status must be available, but current status is: x.", VolumeStateError),
    (
        400,
        "Invalid snapshot: Originating snapshot status must be one of 'available' values",
        VolumeStateError,
    ),
    (400, "Originating source volume status must be one of 'available, in-use' values", VolumeStateError),
    (400, "Additional properties are not allowed", RefusedError),
    (409, "conflict", VolumeStateError),
]


@pytest.mark.parametrize(("status", "words", "kind"), MADE_ERRORS)
async def test_what_refuses_a_snapshot_or_volume(
    bench: Bench, status: int, words: str, kind: type[CloudError]
) -> None:
    name = {413: "overLimit", 400: "badRequest"}.get(status, "conflictingRequest")
    body = {name: {"code": status, "message": words, "retryAfter": "0"}}
    bench.server.answers(Reply(status, body, headers={"Retry-After": "0"}))
    for send in (snap, make):
        with pytest.raises(CloudError) as caught:
            await send(bench)
        assert type(caught.value) is kind
        if kind is QuotaError:
            assert "--max-temporary" in (caught.value.hint or "")


GONE_ERRORS = [
    (400, "Invalid snapshot: Snapshot status must be available or error and must not be", VolumeStateError),
    (400, "Invalid volume: Volume status must be available or error or error_restoring", VolumeStateError),
    (400, "Invalid snapshot: it has dependent volumes", VolumeStateError),
    (400, "The disk is attached.", VolumeStateError),
    (400, "Malformed id", RefusedError),
    (409, "Snapshot is busy.", VolumeStateError),
    (404, "no", NotFoundError),
    (502, "", OutcomeUnknownError),
]


@pytest.mark.parametrize(("status", "words", "kind"), GONE_ERRORS)
async def test_what_refuses_a_deletion(bench: Bench, status: int, words: str, kind: type[CloudError]) -> None:
    bench.server.answers(Reply(status, {"badRequest": {"code": status, "message": words}}))
    ours = client(bench)
    for delete in (ours.delete_snapshot, ours.delete_volume):
        with pytest.raises(CloudError) as caught:
            await delete("x1", fence=Fence())
        assert type(caught.value) is kind

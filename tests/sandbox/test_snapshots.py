"""Snapshots, and volumes made of them, as Cinder has them: what was sent to a real one and answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from batchexport.sandbox import SandboxServer, SandboxSettings, Weather
from batchexport.sandbox.settings import PROJECT_ID, Quotas
from batchexport.sandbox.weather import settings as faults
from tests.sandbox.asking import NEWEST, OTHER_VOLUME, START, V2, V3, VOLUME, Answer, Asker, asking

SERVER = SandboxServer(
    server_id="7d1f7d0c-6f5d-4c43-9c58-8f1f2f6f2b01", name="web", volume_ids=(OTHER_VOLUME,)
)
SETTINGS = SandboxSettings(time_scale=1.0, servers=[SERVER])
MARK = {"batchexport_run": "run1"}


async def snap(asker: Asker, volume_id: str = VOLUME, *, api: str = V3, **fields: Any) -> Answer:
    headers = fields.pop("headers", {})
    body = {"snapshot": {"volume_id": volume_id, **fields}}
    return await asker.ask("POST", f"{api}/snapshots", json=body, headers=headers)


async def create(asker: Asker, **fields: Any) -> Answer:
    return await asker.ask("POST", f"{V3}/volumes", json={"volume": fields})


async def snapped(asker: Asker, volume_id: str = VOLUME, **fields: Any) -> str:
    """The id of a snapshot that is available."""
    answer = await snap(asker, volume_id, **fields)
    assert answer.status == 202, answer.text
    asker.clock.at += 60
    return str(answer.json["snapshot"]["id"])


async def created(asker: Asker, **fields: Any) -> str:
    """The id of a volume that is available."""
    answer = await create(asker, **fields)
    assert answer.status == 202, answer.text
    asker.clock.at += 600
    return str(answer.json["volume"]["id"])


async def status_of(asker: Asker, what: str, item_id: str) -> str | None:
    """The status; None = it is not there."""
    answer = await asker.get(f"{V3}/{what}/{item_id}")
    return None if answer.status == 404 else str(answer.json[what[:-1]]["status"])


@pytest.fixture
async def quick() -> AsyncIterator[Asker]:
    async with asking(SETTINGS) as asker:
        yield asker


@asynccontextmanager
async def under(**weather: faults.Fault) -> AsyncIterator[Asker]:
    options: dict[str, Any] = dict(weather)
    async with asking(SandboxSettings(time_scale=1.0, weather=Weather(**options))) as asker:
        yield asker


@pytest.mark.parametrize("api", [V3, V2])
async def test_a_snapshot_is_made_shown_and_deleted(quick: Asker, api: str) -> None:
    answer = await snap(quick, name="s", description="d", metadata=MARK, api=api)
    made = answer.json["snapshot"]
    assert (answer.status, made["status"], made["size"]) == (202, "creating", 211)
    assert (made["name"], made["description"], made["metadata"]) == ("s", "d", MARK)
    assert (made["volume_id"], made["updated_at"]) == (VOLUME, None)
    quick.clock.at += 2
    assert await status_of(quick, "snapshots", made["id"]) == "available"
    gone = await quick.ask("DELETE", f"{api}/snapshots/{made['id']}")
    assert (gone.status, gone.text) == (202, "")
    assert await status_of(quick, "snapshots", made["id"]) == "deleting"
    quick.clock.at += 2
    assert await status_of(quick, "snapshots", made["id"]) is None
    again = await quick.ask("DELETE", f"{api}/snapshots/{made['id']}")
    assert again.json["itemNotFound"]["message"] == f"Snapshot {made['id']} could not be found."


@pytest.mark.parametrize(
    ("force", "headers", "status", "words"),
    [
        ({}, {}, 400, "status must be available, but current status is: in-use."),
        ({"force": True}, {}, 202, ""),
        ({}, NEWEST, 202, ""),
        ({"force": "true"}, NEWEST, 202, ""),
        ({"force": False}, NEWEST, 400, "Since microversion 3.66 the 'force' flag is invalid"),
    ],
)
async def test_a_volume_in_use_needs_force_until_it_does_not(
    quick: Asker, force: dict[str, Any], headers: dict[str, str], status: int, words: str
) -> None:
    answer = await snap(quick, OTHER_VOLUME, headers=headers, **force)
    assert answer.status == status and words in answer.text
    assert await status_of(quick, "volumes", OTHER_VOLUME) == "in-use"


async def test_a_volume_that_is_being_exported_takes_no_snapshot(quick: Asker) -> None:
    await quick.exported()
    answer = await snap(quick, force=True)
    assert answer.status == 400
    assert "status must be available, in-use, but current status is: uploading." in answer.text
    refused = await create(quick, source_volid=VOLUME)
    assert "must be one of 'available, in-use' values" in refused.json["badRequest"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "n" * 256},
        {"description": 7},
        {"metadata": {"a*b": "c"}},
        {"metadata": {"a": 1}},
        {"metadata": {"a": None}},
        {"colour": "red"},
        {"force": "perhaps"},
    ],
)
async def test_what_cinder_does_not_take_is_refused(quick: Asker, fields: dict[str, Any]) -> None:
    answer = await snap(quick, **fields)
    assert (answer.status, answer.json["badRequest"]["code"]) == (400, 400)


async def test_a_snapshot_of_a_volume_that_is_not_there_is_refused(quick: Asker) -> None:
    assert (await snap(quick, "nope")).json["itemNotFound"]["message"] == "Volume nope could not be found."


async def test_metadata_is_set_replaced_and_removed(quick: Asker) -> None:
    snapshot_id = await snapped(quick, metadata=MARK)
    path = f"{V3}/snapshots/{snapshot_id}/metadata"
    assert (await quick.ask("POST", path, json={"metadata": {"b": "2"}})).json == {
        "metadata": {**MARK, "b": "2"}
    }
    assert (await quick.ask("PUT", f"{path}/c", json={"meta": {"c": "3"}})).json == {"meta": {"c": "3"}}
    assert (await quick.get(f"{path}/c")).json == {"meta": {"c": "3"}}
    assert (await quick.ask("DELETE", f"{path}/b")).status == 200
    assert (await quick.get(path)).json == {"metadata": {**MARK, "c": "3"}}
    assert (await quick.ask("PUT", path, json={"metadata": {}})).json == {"metadata": {}}
    assert (await quick.ask("DELETE", f"{path}/b")).status == 404
    assert (await quick.ask("PUT", f"{path}/c", json={"meta": {"d": "3"}})).status == 400


async def test_names_of_snapshots_and_volumes_can_be_changed(quick: Asker) -> None:
    snapshot_id, volume_id = await snapped(quick, name="a"), await created(quick, source_volid=VOLUME)
    for what, item_id in (("snapshot", snapshot_id), ("volume", volume_id)):
        body = {what: {"name": "b", "description": "why"}}
        changed = await quick.ask("PUT", f"{V3}/{what}s/{item_id}", json=body)
        assert (changed.json[what]["name"], changed.json[what]["description"]) == ("b", "why")


async def test_snapshots_are_listed_newest_first_page_by_page(quick: Asker) -> None:
    ids = [await snapped(quick, name=f"s{number}") for number in range(5)]
    page = (await quick.get(f"{V3}/snapshots/detail?limit=2")).json
    assert [each["id"] for each in page["snapshots"]] == [ids[4], ids[3]]
    (link,) = page["snapshots_links"]
    rest = (await quick.get(f"{V3}{link['href'].partition(V3)[2]}")).json["snapshots"]
    assert [each["id"] for each in rest] == [ids[2], ids[1]]
    ordered = (await quick.get(f"{V3}/snapshots?sort=name:asc")).json["snapshots"]
    assert [each["name"] for each in ordered] == ["s0", "s1", "s2", "s3", "s4"]
    assert (await quick.get(f"{V3}/snapshots?marker=nope")).status == 404


async def test_lists_of_snapshots_are_filtered_and_by_metadata_from_322_on(quick: Asker) -> None:
    ours = await snapped(quick, name="ours", metadata=MARK | {"row": "7"})
    await snapped(quick, OTHER_VOLUME, name="theirs", force=True)

    async def listed(query: str, version: str = "3.22") -> list[str]:
        answer = await quick.get(
            f"{V3}/snapshots?{query}", headers={"OpenStack-API-Version": f"volume {version}"}
        )
        assert answer.status == 200, answer.text
        return [each["name"] for each in answer.json["snapshots"]]

    for text in ("{'batchexport_run': 'run1'}", '{"batchexport_run": "run1", "row": "7"}'):
        assert await listed(f"metadata={quote(text)}") == ["ours"]
        assert await listed(f"metadata={quote(text)}", "3.21") == ["theirs", "ours"]  # ignored
    other = quote('{"row": "8"}')
    assert await listed(f"metadata={other}") == []
    assert await listed("name=ours") == await listed(f"volume_id={VOLUME}") == ["ours"]
    assert await listed("status=creating") == []
    assert await listed(f"id={ours}") == ["theirs", "ours"]  # a filter that it does not know, and ignores
    refused = await quick.get(f"{V3}/snapshots?id={ours}", headers=NEWEST)
    assert (refused.status, "Invalid filters id" in refused.text) == (400, True)
    assert (await quick.get(f"{V3}/snapshots?metadata=x", headers=NEWEST)).status == 400


async def test_a_volume_of_a_snapshot_is_exported_and_both_are_deleted(quick: Asker) -> None:
    snapshot_id = await snapped(quick, OTHER_VOLUME, force=True)
    answer = await create(quick, snapshot_id=snapshot_id, name="temporary", metadata=MARK)
    made = answer.json["volume"]
    assert (answer.status, made["status"], made["snapshot_id"]) == (202, "creating", snapshot_id)
    refused = await quick.ask("DELETE", f"{V3}/volumes/{made['id']}")
    assert "Volume status must be available or error" in refused.json["badRequest"]["message"]
    quick.clock.at += 600
    assert await status_of(quick, "volumes", made["id"]) == "available"
    await quick.exported(volume_id=made["id"])
    assert await status_of(quick, "volumes", made["id"]) == "uploading"
    assert (await quick.ask("DELETE", f"{V3}/volumes/{made['id']}")).status == 400
    quick.clock.at += 2400
    for path in (f"volumes/{made['id']}", f"snapshots/{snapshot_id}"):
        assert (await quick.ask("DELETE", f"{V3}/{path}")).status == 202
        quick.clock.at += 10
        assert (await quick.get(f"{V3}/{path}")).status == 404
    assert await status_of(quick, "volumes", OTHER_VOLUME) == "in-use"


async def test_a_clone_needs_no_snapshot_and_lists_show_it(quick: Asker) -> None:
    volume_id = await created(quick, source_volid=OTHER_VOLUME, metadata=MARK)
    shown = (await quick.get(f"{V3}/volumes/{volume_id}")).json["volume"]
    assert (shown["source_volid"], shown["metadata"], shown["bootable"]) == (OTHER_VOLUME, MARK, "false")
    found = await quick.get(f"{V3}/volumes?metadata={quote(str(MARK))}")
    assert [each["id"] for each in found.json["volumes"]] == [volume_id]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"size": 210}, 400, "Volume size '210'GB cannot be smaller than the snapshot size 211GB"),
        ({"size": "212"}, 202, ""),
        ({"size": 0}, 400, "size"),
        ({"volume_type": "SAS"}, 400, "requested type is not compatible"),
        ({"volume_type": "SSD", "imageRef": None}, 202, ""),
        ({"colour": "red"}, 400, "Additional properties"),
        ({"snapshot_id": "nope"}, 404, "Snapshot nope could not be found."),
        ({"snapshot_id": None}, 400, "Volume size must be"),
        ({"snapshot_id": None, "size": 3}, 202, ""),
    ],
)
async def test_what_a_volume_may_be_made_of(
    quick: Asker, fields: dict[str, Any], status: int, words: str
) -> None:
    snapshot_id = await snapped(quick)
    answer = await create(quick, **({"snapshot_id": snapshot_id} | fields))
    assert answer.status == status and words in answer.text


async def test_no_volume_is_made_of_a_snapshot_that_is_not_available(quick: Asker) -> None:
    snapshot_id = (await snap(quick)).json["snapshot"]["id"]
    refused = await create(quick, snapshot_id=snapshot_id)
    words = "Invalid snapshot: Originating snapshot status must be one of 'available' values"
    assert refused.json["badRequest"]["message"] == words
    early = await quick.ask("DELETE", f"{V3}/snapshots/{snapshot_id}")
    assert "must not be part of a group" in early.json["badRequest"]["message"]


async def test_a_snapshot_is_deleted_once_the_copy_of_it_is_done(quick: Asker) -> None:
    snapshot_id = await snapped(quick)
    volume_id = (await create(quick, snapshot_id=snapshot_id)).json["volume"]["id"]
    await quick.ask("DELETE", f"{V3}/snapshots/{snapshot_id}")
    quick.clock.at += 42.1
    assert await status_of(quick, "snapshots", snapshot_id) == "deleting"
    quick.clock.at += 0.2
    assert await status_of(quick, "snapshots", snapshot_id) is None
    shown = (await quick.get(f"{V3}/volumes/{volume_id}")).json["volume"]
    assert (shown["status"], shown["snapshot_id"]) == ("available", snapshot_id)


async def test_a_volume_with_snapshots_is_deleted_with_them_or_not_at_all(quick: Asker) -> None:
    volume_id = await created(quick, source_volid=VOLUME)
    snapshot_id = await snapped(quick, volume_id)
    child_id = await created(quick, snapshot_id=snapshot_id)
    assert (await quick.ask("DELETE", f"{V3}/volumes/{volume_id}")).status == 400
    assert (await quick.ask("DELETE", f"{V3}/volumes/{volume_id}?cascade=true")).status == 202
    quick.clock.at += 10
    assert await status_of(quick, "volumes", volume_id) is None
    assert await status_of(quick, "snapshots", snapshot_id) is None
    assert await status_of(quick, "volumes", child_id) == "available"


@pytest.mark.parametrize(
    ("quotas", "snapshot", "message"),
    [
        (
            Quotas(snapshots=1),
            True,
            "SnapshotLimitExceeded: Maximum number of snapshots allowed (1)",
        ),
        (Quotas(gigabytes=300), True, "Requested 211G, quota is 300G and 211G has been consumed."),
        (
            Quotas(volumes=0),
            False,
            "VolumeLimitExceeded: Maximum number of volumes allowed (0) exceeded for quota 'volumes'.",
        ),
        (
            Quotas(gigabytes=300),
            False,
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot",
        ),
    ],
)
async def test_a_quota_is_refused_as_a_throttle_is(quotas: Quotas, snapshot: bool, message: str) -> None:
    async with asking(SandboxSettings(quotas=quotas)) as asker:
        snapshot_id = await snapped(asker)
        answer = await (snap(asker) if snapshot else create(asker, snapshot_id=snapshot_id))
        fault = answer.json["overLimit"]
        assert (answer.status, answer.headers["Retry-After"]) == (413, "0")
        assert (fault["code"], fault["retryAfter"], message in fault["message"]) == (413, "0", True)


async def test_quotas_and_what_is_used_of_them_are_told() -> None:
    async with asking(SandboxSettings(quotas=Quotas(snapshots=4), time_scale=1.0)) as asker:
        snapshot_id = await snapped(asker)
        await created(asker, snapshot_id=snapshot_id)
        absolute = (await asker.get(f"{V3}/limits")).json["limits"]["absolute"]
        used = await asker.get(f"{V3}/os-quota-sets/{PROJECT_ID}?usage=True")
        await asker.ask("DELETE", f"{V3}/snapshots/{snapshot_id}")
        asker.clock.at += 10
        after = (await asker.get(f"{V2}/limits")).json["limits"]["absolute"]
        plain = (await asker.get(f"{V3}/os-quota-sets/{PROJECT_ID}")).json["quota_set"]
        assert (await asker.get(f"{V3}/os-quota-sets/another")).status == 403
    assert (absolute["maxTotalSnapshots"], absolute["maxTotalVolumes"]) == (4, -1)
    assert (absolute["totalSnapshotsUsed"], absolute["totalGigabytesUsed"]) == (1, 422)
    assert used.json["quota_set"]["snapshots"] == {"limit": 4, "in_use": 1, "reserved": 0}
    assert (after["totalSnapshotsUsed"], after["totalGigabytesUsed"], plain["snapshots"]) == (0, 211, 4)


async def test_a_snapshot_and_a_volume_can_end_in_error_and_be_deleted() -> None:
    async with under(failed_snapshot=faults.FailedSnapshot(share=1)) as asker:
        snapshot_id = await snapped(asker)
        assert await status_of(asker, "snapshots", snapshot_id) == "error"
        assert (await asker.ask("DELETE", f"{V3}/snapshots/{snapshot_id}")).status == 202
        assert asker.sandbox.counts["weather:failed_snapshot"] == 1
    async with under(failed_volume=faults.FailedVolume(share=1)) as asker:
        volume_id = await created(asker, source_volid=VOLUME)
        assert await status_of(asker, "volumes", volume_id) == "error"
        assert (await asker.ask("DELETE", f"{V3}/volumes/{volume_id}")).status == 202


async def test_a_busy_back_end_gives_a_snapshot_back_and_deletes_it_later() -> None:
    async with under(busy=faults.Busy(share=0.5)) as asker:
        snapshot_id, ends = await snapped(asker), []
        while (await asker.ask("DELETE", f"{V3}/snapshots/{snapshot_id}")).status == 202:
            assert await status_of(asker, "snapshots", snapshot_id) == "deleting"
            asker.clock.at += 10
            ends.append(await status_of(asker, "snapshots", snapshot_id))
        assert ends[-1] is None
        assert set(ends[:-1]) <= {"available"}


async def test_what_cannot_be_deleted_stays_in_error_deleting() -> None:
    async with under(undeletable=faults.Undeletable(share=1)) as asker:
        snapshot_id = await snapped(asker)
        await asker.ask("DELETE", f"{V3}/snapshots/{snapshot_id}")
        asker.clock.at += 10
        assert await status_of(asker, "snapshots", snapshot_id) == "error_deleting"
        assert (await asker.ask("DELETE", f"{V3}/snapshots/{snapshot_id}")).status == 400


async def test_a_snapshot_whose_answer_was_lost_is_there_a_moment_later() -> None:
    async with under(lost=faults.Lost(share=1, carried_out=1.0, late_s=0.0)) as asker:
        with pytest.raises(aiohttp.ClientError):
            await snap(asker, name="lost", metadata=MARK)
        (found,) = (await asker.get(f"{V3}/snapshots/detail")).json["snapshots"]
        assert (found["name"], found["metadata"]) == ("lost", MARK)


async def test_a_replica_that_lags_shows_no_new_snapshot() -> None:
    async with under(lag=faults.Lag(share=1, seconds=3.0)) as asker:
        snapshot_id = (await snap(asker)).json["snapshot"]["id"]
        assert await status_of(asker, "snapshots", snapshot_id) is None
        assert (await asker.get(f"{V3}/snapshots")).json["snapshots"] == []
        asker.clock.at += 3
        assert await status_of(asker, "snapshots", snapshot_id) == "creating"


async def test_a_list_may_miss_a_snapshot_once() -> None:
    async with under(missing=faults.Missing(share=1)) as asker:
        await snapped(asker)
        assert (await asker.get(f"{V3}/snapshots")).json["snapshots"] == []
        assert len((await asker.get(f"{V3}/snapshots")).json["snapshots"]) == 1


async def test_snapshots_and_volumes_outlive_a_restart(tmp_path: Path) -> None:
    journal = SandboxSettings(journal=tmp_path / "journal", time_scale=1.0)
    async with asking(journal) as asker:
        kept, gone = await snapped(asker, name="kept", metadata=MARK), await snapped(asker)
        volume_id = await created(asker, snapshot_id=kept, name="temporary")
        await asker.ask("PUT", f"{V3}/snapshots/{kept}", json={"snapshot": {"name": "renamed"}})
        await asker.ask("DELETE", f"{V3}/snapshots/{gone}")
    async with asking(journal) as asker:
        asker.clock.at = START + 3000
        (found,) = (await asker.get(f"{V3}/snapshots/detail")).json["snapshots"]
        assert (found["id"], found["name"], found["metadata"]) == (kept, "renamed", MARK)
        assert (await asker.get(f"{V3}/volumes/{volume_id}")).json["volume"]["name"] == "temporary"


async def set_image_metadata(asker: Asker, volume_id: str, **metadata: str) -> Answer:
    return await asker.act({"os-set_image_metadata": {"metadata": metadata}}, volume_id=volume_id)


async def test_image_metadata_goes_on_the_image_from_its_first_moment(quick: Asker) -> None:
    volume_id = await created(quick, source_volid=VOLUME)
    answer = await set_image_metadata(quick, volume_id, batchexport_run="r9", os_type="linux", name="no")
    assert (answer.status, sorted(answer.json["metadata"])) == (200, ["batchexport_run", "name", "os_type"])
    shown = (await quick.get(f"{V3}/volumes/{volume_id}")).json["volume"]
    assert shown["volume_image_metadata"]["os_type"] == "linux"
    image_id = await quick.exported("a-name", volume_id=volume_id)
    image = (await quick.get(f"/image/v2/images/{image_id}")).json
    assert (image["status"], image["name"]) == ("queued", "a-name")
    assert (image["batchexport_run"], image["os_type"]) == ("r9", "linux")
    for run, ids in (("r9", [image_id]), ("r8", [])):
        found = (await quick.get(f"/image/v2/images?batchexport_run={run}")).json["images"]
        assert [each["id"] for each in found] == ids


async def test_the_id_of_an_image_can_be_chosen_once(quick: Asker) -> None:
    chosen = "5d1c7a0e-94c3-4b3f-8d2a-6be07f15c920"
    volume_id = await created(quick, source_volid=VOLUME)
    await set_image_metadata(quick, volume_id, id=chosen)
    assert await quick.exported(volume_id=volume_id) == chosen
    quick.clock.at += 2400
    refused = await quick.export(volume_id=volume_id)
    words = f"HTTP 409 Conflict: Image ID {chosen} already exists!"
    assert (refused.status, refused.json["badRequest"]["message"]) == (400, words)
    assert await status_of(quick, "volumes", volume_id) == "available"
    await quick.ask("DELETE", f"/image/v2/images/{chosen}")
    assert (await quick.export(volume_id=volume_id)).status == 400  # also after it was deleted
    unset = await quick.act({"os-unset_image_metadata": {"key": "id"}}, volume_id=volume_id)
    assert unset.status == 200
    assert await quick.exported(volume_id=volume_id) != chosen
    gone = await quick.act({"os-unset_image_metadata": {"key": "id"}}, volume_id=volume_id)
    assert gone.status == 404
    assert quick.sandbox.exports_per_volume == {volume_id: 2}


@pytest.mark.parametrize("metadata", [{"id": "7"}, {"owner": "me"}, {"visibility": "public"}])
async def test_image_metadata_that_glance_does_not_take_breaks_the_export(
    quick: Asker, metadata: dict[str, str]
) -> None:
    await set_image_metadata(quick, VOLUME, **metadata)
    assert (await quick.export()).status == 400
    assert await status_of(quick, "volumes", VOLUME) == "available"


async def test_snapshots_and_clones_keep_the_image_metadata(quick: Asker) -> None:
    await set_image_metadata(quick, VOLUME, hw_disk_bus="scsi")
    snapshot_id = await snapped(quick)
    for source in ({"snapshot_id": snapshot_id}, {"source_volid": VOLUME}):
        shown = await quick.act({"os-show_image_metadata": None}, volume_id=await created(quick, **source))
        assert shown.json == {"metadata": {"hw_disk_bus": "scsi"}}

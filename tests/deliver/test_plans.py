"""What `plan` says of deliveries before a run, and what reports say of them after it."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from batchexport import export, plan_export, render_report
from batchexport.config import Limits
from batchexport.deliveries import DeliveryState
from batchexport.model import ImageOptions, QuotaUse, StorageQuota, TargetKey, Volume, VolumeDetails
from batchexport.observe.metrics import RunMetrics, Snapshot
from batchexport.plan import PlanSummary
from batchexport.plan.deliveries import PlannedDelivery, check_delivery
from batchexport.report.plan import plan_json, plan_text
from batchexport.report.status import status_json, status_text, summary_text
from batchexport.sandbox.settings import Quotas, SandboxSettings
from batchexport.store import stores, tally_deliveries
from tests.deliver.sides import IDS, Sides, both_sides, east_of

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[Sides]:
    west = SandboxSettings(time_scale=0, quotas=Quotas(volumes=1))
    async with both_sides(tmp_path, east=east_of(), west=west) as sides:
        yield sides


def options(**more: Any) -> Any:
    said = {"cloud": "east", "requests_per_second": 0, "poll_interval_s": 0.05, "sign_in_timeout_s": 0.0}
    return {**said, "disk_format": "qcow2", **more}


async def test_what_destinations_will_refuse_is_told_before_a_run(sides: Sides) -> None:
    (sides.folder / "file").write_text("no folder")
    deliver = [
        "cloud:west",
        "volume:west",
        "cloud:away",
        f"file://{sides.folder}/file/",
        f"file://{sides.folder}/",
    ]
    summaries = await plan_export(sides.list_path, **options(deliver=deliver))
    (summary,) = summaries.values()
    assert {text: planned.rows for text, planned in summary.deliveries.items()} == dict.fromkeys(deliver, 4)
    assert summary.undeliverable == ["volume:west", "cloud:away", f"file://{sides.folder}/file/"]
    text = plan_text(summaries, Limits())
    assert "to volume:west: 4 images, at most 40 GiB" in text
    assert "will be refused: the quota has room for 1 volumes, 4 are needed" in text
    assert "is no folder" in text
    document = json.loads(plan_json(summaries, Limits()))
    assert [each["to"] for each in document["deliveries"]] == deliver
    assert await sides.sources() == []


async def test_a_plan_counts_the_rows_that_say_something_else(sides: Sides) -> None:
    rows = [f"{IDS[0]},cloud:west", f"{IDS[1]},none", f"{IDS[2]},"]
    sides.list_path.write_text("\n".join(["volume_id,deliver", *rows]) + "\n")
    (summary,) = (await plan_export(sides.list_path, **options())).values()
    assert {text: planned.rows for text, planned in summary.deliveries.items()} == {"cloud:west": 1}


def test_formats_and_quotas_that_the_destination_tells_are_compared() -> None:
    planned = PlannedDelivery(rows=2, gib=20)
    planned.disk_formats["vmdk"] = 2
    planned.check_formats(None)
    planned.check_formats(["vmdk", "raw"])
    assert planned.problems == []
    planned.check_formats(["raw"])
    assert planned.problems == ["it takes no vmdk, as 2 images are; it takes raw"]
    planned.check_room(None, None)
    assert planned.notes == ["the cloud does not tell its quotas for volumes"]
    planned.check_room(StorageQuota(quotas={"gigabytes_ssd": QuotaUse(10, 0)}), "ssd")
    assert planned.problems[1:] == ["the quota has room for 10 gigabytes, 20 are needed"]
    other = PlannedDelivery(rows=1, gib=5)
    other.take_in(planned)
    assert (other.rows, other.gib, other.disk_formats["vmdk"]) == (3, 25, 2)


def test_encrypted_volumes_and_public_images_are_named() -> None:
    volume = Volume(volume_id=IDS[0], status="available", size_gib=1, details=VolumeDetails(encrypted=True))
    (finding,) = check_delivery(volume, ImageOptions(), ["cloud:west", "project:1"])
    assert "encrypted" in finding.words
    plain = Volume(volume_id=IDS[0], status="available", size_gib=1)
    (finding,) = check_delivery(plain, ImageOptions(visibility="public"), ["cloud:west", "project:1"])
    assert "has no members" in finding.words


async def test_every_report_says_where_each_image_is_and_what_proved_it(sides: Sides) -> None:
    saved = f"file://{sides.folder}/saved/"
    outcome = await export(sides.list_path, **options(deliver=[saved, "project:7e3f"]))
    assert outcome.exit_code == 0
    rows = list(csv.DictReader(render_report(sides.state, "csv").splitlines()))
    assert [row["delivery"] for row in rows] == ["delivered"] * 4
    assert all(f"{saved} = {saved}" in row["delivered_to"] for row in rows)
    assert all("project:7e3f = 7e3f" in row["delivered_to"] for row in rows)
    assert all("the hash of the bytes written" in row["delivery_notes"] for row in rows)
    document = json.loads(render_report(sides.state, "json"))
    assert document["deliveries"]["delivered"] == 8
    assert {each["state"] for row in document["jobs"] for each in row["deliveries"]} == {"delivered"}
    assert "Where the images are now" in render_report(sides.state, "markdown")
    assert "Every delivery" in render_report(sides.state, "html")
    with stores.read(sides.state) as reader:
        assert "8 of 8 deliveries done and verified" in status_text(reader, sides.state, now=time.time())
        assert json.loads(status_json(reader, sides.state, now=time.time()))["deliveries"]["delivered"] == 8
        tally = tally_deliveries(reader)
    assert tally is not None
    metrics = RunMetrics(lambda: Snapshot(deliveries=tally), {}).text()
    assert 'batchexport_deliveries{state="delivered"} 8.0' in metrics
    (line,) = (each for each in metrics.splitlines() if each.startswith("batchexport_delivered_bytes_total"))
    assert float(line.split()[1]) == tally[DeliveryState.DELIVERED][1] > 0


async def test_reports_name_what_is_exported_but_not_delivered(sides: Sides) -> None:
    (sides.folder / "file").write_text("no folder")
    outcome = await export(sides.list_path, **options(deliver=[f"file://{sides.folder}/file/"]))
    assert (outcome.exit_code, outcome.undelivered) == (3, 4)
    with stores.read(sides.state) as reader:
        text = summary_text(reader, sides.state, cloud="east", took_s=1.0)
    assert "4 rows exported, but not delivered" in text
    assert "next: batchexport" in text
    markdown = render_report(sides.state, "markdown")
    assert "exported, not delivered" in markdown.splitlines()[0]
    rows = list(csv.DictReader(render_report(sides.state, "csv").splitlines()))
    assert {row["delivery"] for row in rows} <= {"failed", "pending"}
    assert all(row["delivery_notes"] for row in rows)
    assert "not delivered" in render_report(sides.state, "html")


def test_a_plan_without_deliveries_says_nothing_of_them() -> None:
    assert "to cloud" not in plan_text({TargetKey(): PlanSummary()}, Limits())

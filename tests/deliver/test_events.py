"""What others hear of deliveries while a run goes on: events, and `status --watch`."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchexport.cli.status_watch import watch
from batchexport.deliveries import Delivered, DeliveryChange, DeliveryPolicy, Planned, Started
from batchexport.model import JobState
from batchexport.sandbox import SandboxSettings
from batchexport.store import DeliveryBook, stores
from tests.deliver.sides import IDS, Sides, both_sides, east_of
from tests.store.making import bring, image, make


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[Sides]:
    async with both_sides(tmp_path, east=east_of(), west=SandboxSettings(time_scale=0)) as sides:
        yield sides


async def test_every_step_of_a_delivery_is_an_event(sides: Sides) -> None:
    path = sides.folder / "events.jsonl"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batchexport", "run", str(sides.list_path), "--os-cloud", "east"),
        *("--deliver", "cloud:west", "--events", str(path), "--poll-interval", "0.2"),
        *("--requests-per-second", "0", "--disk-format", "qcow2"),
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(sides.folder / "clouds.yaml")},
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    assert await process.wait() == 0
    events = [json.loads(line) for line in path.read_text().splitlines()]
    found = [each for each in events if each["event"] == "delivery_changed"]
    assert Counter((each["from"], each["to"]) for each in found) == {
        ("pending", "delivering"): len(IDS),
        ("delivering", "delivered"): len(IDS),
    }
    done = [each for each in found if each["to"] == "delivered"]
    assert {each["volume_id"] for each in done} == set(IDS)
    assert all("sha512" in each["verified_by"] and each["delivery_seconds"] >= 0 for each in done)
    assert {each["destination"] for each in done} == {"cloud:west"}
    assert sorted(each["result_id"] for each in done) == sorted(
        [each.image_id async for page in sides.west.image.images() for each in page]
    )


async def test_watching_goes_on_until_everything_is_delivered(tmp_path: Path) -> None:
    path = await asyncio.to_thread(make, tmp_path / "march.state", 1)
    async with stores.open_for_work(path) as store:
        work = await store.take(1)
        await bring(work, JobState.SUCCEEDED)
        book = DeliveryBook(work)
        await book.note_policy(DeliveryPolicy(destinations=("cloud:west",)))
        done: list[DeliveryChange] = [
            Planned(job_id=1, position=1, image_id=image(1), destination="cloud:west"),
            Started(delivery_id=1, result_id="there", generation=0, at_s=1.0),
            Delivered(
                delivery_id=1, result_id="there", size_bytes=5, image_hash=None, verified_by="x", at_s=2.0
            ),
        ]
        loop, looks = asyncio.get_running_loop(), io.StringIO()

        def sleep(_: float) -> None:
            asyncio.run_coroutine_threadsafe(book.commit(done.pop(0)), loop).result()

        await asyncio.to_thread(watch, path, every_s=1.0, screen=looks, sleep=sleep)
        await work.release()
    assert done == []

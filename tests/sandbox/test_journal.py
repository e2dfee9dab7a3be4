from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from batchexport.errors import ConfigError
from batchexport.sandbox import SandboxSettings, serve
from batchexport.sandbox.state import Journal
from batchexport.sandbox.world import Deletion, Event
from tests.sandbox.asking import ACTION, OTHER_VOLUME, V3, VOLUME, Asker, Clock, by_password
from tests.sandbox.test_world import EXPORT

DELETION = Deletion(image_id="image-1", deleted_at=150.0)

# A sandbox that names its address and then serves until it is killed.
SERVE = """
import asyncio, pathlib, sys
from batchexport.sandbox import SandboxSettings, serve

async def main():
    async with serve(SandboxSettings(journal=pathlib.Path(sys.argv[1]), time_scale=100.0)) as sandbox:
        print(sandbox.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def replayed(path: Path) -> list[Event]:
    journal = Journal(path)
    try:
        return list(journal.replay())
    finally:
        journal.close()


def write(path: Path, *events: Event) -> None:
    journal = Journal(path)
    list(journal.replay())
    for event in events:
        journal.append(event)
    journal.close()


def test_what_was_written_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, EXPORT)
    write(path, DELETION)
    assert replayed(path) == [EXPORT, DELETION]


def test_a_torn_last_line_is_cut_off_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, EXPORT)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    write(path, DELETION)
    assert replayed(path) == [EXPORT, DELETION]


def test_a_line_that_is_no_event_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"event":"export"}\n')
    with pytest.raises(ConfigError, match=r"journal, line 1: .*missing required field"):
        replayed(path)
    assert path.read_bytes() == b'{"event":"export"}\n'


def test_a_journal_serves_one_process_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(ConfigError, match="another sandbox is using it"):
        Journal(tmp_path / "journal")
    journal.close()


def test_a_journal_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing/journal: No such file"):
        Journal(tmp_path / "missing" / "journal")


async def test_a_broken_journal_starts_no_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"nonsense\n")
    with pytest.raises(ConfigError):
        async with serve(SandboxSettings(journal=path)):
            raise AssertionError("started on a broken journal")
    assert replayed_after_repair(path) == []


def replayed_after_repair(path: Path) -> list[Event]:
    path.write_bytes(b"")
    return replayed(path)


async def test_a_sandbox_started_again_has_the_same_images(tmp_path: Path) -> None:
    settings = SandboxSettings(journal=tmp_path / "journal")
    clock = Clock()
    async with aiohttp.ClientSession() as session:
        async with serve(settings, now=clock) as sandbox:
            first = Asker(sandbox, session, clock)
            first.token = (await first.sign_in(identity=by_password())).headers["X-Subject-Token"]
            kept = await first.exported("kept")
            deleted = await first.exported("deleted", volume_id=OTHER_VOLUME)
            assert (await first.ask("DELETE", f"/image/v2/images/{deleted}")).status == 204
        async with serve(settings, now=clock) as sandbox:
            second = Asker(sandbox, session, clock, token=first.token)  # tokens outlive a restart too
            clock.at += 600
            images = (await second.get("/image/v2/images")).json["images"]
            assert [(image["id"], image["name"], image["status"]) for image in images] == [
                (kept, "kept", "active")
            ]
            assert sandbox.exports_per_volume == {VOLUME: 1, OTHER_VOLUME: 1}


async def test_an_answered_export_survives_kill_9(tmp_path: Path) -> None:
    command = (sys.executable, "-c", SERVE, str(tmp_path / "journal"))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(await process.stdout.readline())}"
    async with aiohttp.ClientSession() as session:
        sign_in = {"auth": {"identity": by_password()}}
        async with session.post(f"{url}/identity/v3/auth/tokens", json=sign_in) as response:
            session.headers["X-Auth-Token"] = response.headers["X-Subject-Token"]
        body = {ACTION: {"image_name": "survivor"}}
        async with session.post(f"{url}{V3}/volumes/{VOLUME}/action", json=body) as response:
            image_id = (await response.json())[ACTION]["image_id"]
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        async with (
            serve(SandboxSettings(journal=tmp_path / "journal")) as sandbox,
            session.get(f"{sandbox.url}/image/v2/images/{image_id}") as response,
        ):
            assert (await response.json())["name"] == "survivor"

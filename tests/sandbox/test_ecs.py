"""ECS: batches of servers, the jobs that follow them, and exports that wait for a server to be stopped."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.sandbox import Profile, SandboxSettings
from batchexport.sandbox.settings import PROJECT_ID
from tests.sandbox.asking import ACTION, VOLUME, Answer, Asker, asking
from tests.sandbox.test_compute import DEAF, LOCKED, TWIN, WEB

ECS = f"/ecs/v1/{PROJECT_ID}"
NOVA = f"/ecs/v2.1/{PROJECT_ID}"
SETTINGS = SandboxSettings(profile=Profile.EVS, servers=[WEB, TWIN, LOCKED, DEAF], time_scale=1.0)
NOBODY = str(uuid.uuid4())


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    async with asking(SETTINGS) as ready:
        yield ready


async def batch(asker: Asker, action: str, *server_ids: str, **options: object) -> Answer:
    body = {action: {"servers": [{"id": server_id} for server_id in server_ids], **options}}
    return await asker.ask("POST", f"{ECS}/cloudservers/action", json=body)


async def job(asker: Asker, answer: Answer) -> Any:
    return (await asker.get(f"{ECS}/jobs/{answer.json['job_id']}")).json


async def statuses(asker: Asker) -> dict[str, str]:
    listed = (await asker.get(f"{NOVA}/servers/detail")).json["servers"]
    return {server["name"]: server["status"] for server in listed}


async def test_a_batch_stops_and_starts_its_servers(asker: Asker) -> None:
    for action, status, takes_s in (
        ("os-stop", "SHUTOFF", SETTINGS.server_stop_s),
        ("os-start", "ACTIVE", SETTINGS.server_start_s),
    ):
        taken = await batch(asker, action, WEB.server_id, TWIN.server_id)
        assert taken.status == 200
        assert (await job(asker, taken))["status"] == "RUNNING"
        asker.clock.at += takes_s
        done = await job(asker, taken)
        assert (done["status"], done["entities"]["sub_jobs_total"], done["fail_reason"]) == (
            "SUCCESS",
            2,
            None,
        )
        found = await statuses(asker)
        assert {found["web"], found["twin"]} == {status}


async def test_the_parts_of_a_job_fail_alone(asker: Asker) -> None:
    ids = (WEB.server_id, LOCKED.server_id, NOBODY, WEB.server_id)
    taken = await batch(asker, "os-stop", *ids)
    assert (await job(asker, taken))["status"] == "RUNNING"
    asker.clock.at += SETTINGS.server_stop_s
    done = await job(asker, taken)
    assert done["status"] == "FAIL"
    parts = {part["entities"]["server_id"]: part for part in done["entities"]["sub_jobs"]}
    assert {each: part["status"] for each, part in parts.items()} == {
        WEB.server_id: "SUCCESS",
        LOCKED.server_id: "FAIL",
        NOBODY: "FAIL",
    }
    assert (parts[NOBODY]["error_code"], "could not be found" in parts[NOBODY]["fail_reason"]) == (
        "Ecs.0100",
        True,
    )
    assert (await statuses(asker))["web"] == "SHUTOFF"


@pytest.mark.parametrize(("kind", "status"), [("SOFT", "ACTIVE"), ("HARD", "SHUTOFF")])
async def test_a_guest_that_heeds_nothing_needs_a_hard_stop(asker: Asker, kind: str, status: str) -> None:
    await asker.ask("POST", f"{NOVA}/servers/{DEAF.server_id}/action", json={"os-stop": {"type": kind}})
    asker.clock.at += 100
    assert (await statuses(asker))["deaf"] == status


async def test_the_same_for_a_batch(asker: Asker) -> None:
    soft = await batch(asker, "os-stop", DEAF.server_id)
    asker.clock.at += 100
    assert (await job(asker, soft))["status"] == "FAIL"
    hard = await batch(asker, "os-stop", DEAF.server_id, type="HARD")
    asker.clock.at += 100
    assert (await job(asker, hard))["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("action", "servers", "options"),
    [
        ("os-stop", 0, {}),
        ("os-stop", 1001, {}),
        ("os-stop", 1, {"type": "GENTLE"}),
        ("reboot", 1, {}),
    ],
)
async def test_a_batch_that_is_none_is_refused(
    asker: Asker, action: str, servers: int, options: dict[str, object]
) -> None:
    refused = await batch(asker, action, *[WEB.server_id] * servers, **options)
    assert (refused.status, refused.json["error"]["code"]) == (400, "Ecs.0005")


async def test_a_body_that_is_no_batch_is_refused(asker: Asker) -> None:
    refused = await asker.ask("POST", f"{ECS}/cloudservers/action", data=b"[]")
    assert (refused.status, refused.json["error"]["code"]) == (400, "Ecs.0005")


async def test_jobs_and_servers_that_are_not_there_are_not_found(asker: Asker) -> None:
    for root in (ECS, f"/v1/{PROJECT_ID}"):
        assert (await asker.get(f"{root}/jobs/{NOBODY}")).json["itemNotFound"]["code"] == 404
    assert (await asker.get(f"{NOVA}/servers/{NOBODY}")).json["itemNotFound"]["code"] == 404


async def test_another_project_is_refused(asker: Asker) -> None:
    refused = await asker.get(f"/ecs/v1/{'0' * 32}/jobs/{NOBODY}")
    assert (refused.status, refused.json["error"]["code"]) == (403, "Common.0018")


async def test_a_bad_token_is_refused_by_the_gateway(asker: Asker) -> None:
    asker.token = "made-up"
    assert (await asker.get(f"{NOVA}/servers")).json["error_code"] == "APIGW.0301"


async def test_the_volume_of_a_running_server_needs_it_to_be_stopped_where_that_is_asked() -> None:
    body = {ACTION: {"image_name": "an-image", "force": True}}
    settings = replace(SETTINGS, stopped_servers_only=True, time_scale=0)
    async with asking(settings) as asker:
        refused = await asker.act(body, api=f"/evs/v2/{PROJECT_ID}")
        assert (refused.status, refused.json["error"]["code"]) == (400, "IMG.0008")
        await batch(asker, "os-stop", WEB.server_id, TWIN.server_id)
        assert (await asker.act(body, api=f"/evs/v2/{PROJECT_ID}")).status == 202
        assert asker.sandbox.exports_per_volume == {VOLUME: 1}

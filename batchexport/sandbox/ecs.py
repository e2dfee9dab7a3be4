"""ECS: Nova's servers under v2.1, and under v1 its own batches: many stopped or started by one request."""

from __future__ import annotations

import uuid

import msgspec
from aiohttp import web

from batchexport.sandbox import compute
from batchexport.sandbox.compute import job_record
from batchexport.sandbox.responses import Refusal, json_reply
from batchexport.sandbox.servers import Action, Power, refusal_reason
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.state import STATE, SandboxState

MAX_BATCH = 1000


class ServerRef(msgspec.Struct):
    """A server of a batch."""

    id: str


class BatchOptions(msgspec.Struct):
    """What is asked of the servers of a batch."""

    servers: list[ServerRef]
    type: str = "SOFT"


class Batch(msgspec.Struct):
    """The body of a batch: one of the two."""

    stop: BatchOptions | None = msgspec.field(name="os-stop", default=None)
    start: BatchOptions | None = msgspec.field(name="os-start", default=None)


def routes() -> list[web.RouteDef]:
    """The paths of ECS, below `/ecs`, and as on a host of its own, where the vendor's clients look for it."""
    own = [
        route
        for project in ("/ecs/{version:v1}/{project_id}", "/{version:v1}/{project_id}")
        for route in (
            web.post(f"{project}/cloudservers/action", act_on_servers),
            web.get(f"{project}/jobs/{{job_id}}", get_job),
        )
    ]
    return compute.routes("/ecs") + own


async def act_on_servers(request: web.Request) -> web.Response:
    """The id of a job; each server is its own part of it, and may fail alone."""
    _refuse_other_projects(request)
    action, options = read_batch(await request.read())
    state = request.app[STATE]
    job_id = str(uuid.uuid4())
    # A server that is named twice is one part.
    for server_id in dict.fromkeys(server.id for server in options.servers):
        state.record(_part(state, server_id, action, gentle=options.type == "SOFT", job_id=job_id))
    return json_reply({"job_id": job_id})


async def get_job(request: web.Request) -> web.Response:
    """How far a batch is."""
    _refuse_other_projects(request)
    state, job_id = request.app[STATE], request.match_info["job_id"]
    powers = state.world.servers.job(job_id)
    if powers is None:
        raise Refusal(404, f"The job {job_id} does not exist.")
    return json_reply(job_record(job_id, powers, state.now()))


def read_batch(body: bytes) -> tuple[Action, BatchOptions]:
    """The action of a batch and its servers."""
    try:
        batch = msgspec.json.decode(body, type=Batch)
    except msgspec.DecodeError as error:
        raise Refusal(400, f"Request body is illegal: {error}", code="Ecs.0005") from error
    options = batch.stop or batch.start
    if options is None or not 1 <= len(options.servers) <= MAX_BATCH:
        raise Refusal(400, f"A batch has 1 to {MAX_BATCH} servers.", code="Ecs.0005")
    if options.type not in ("SOFT", "HARD"):
        raise Refusal(400, "The type must be SOFT or HARD.", code="Ecs.0005")
    return "stop" if batch.stop else "start", options


def _part(state: SandboxState, server_id: str, action: Action, *, gentle: bool, job_id: str) -> Power:
    now = state.now()
    view = state.world.servers.server(server_id, now)
    reason = f"Instance {server_id} could not be found." if view is None else refusal_reason(view, action)
    if view is None or reason is not None:
        return Power(
            server_id=server_id,
            action=action,
            accepted_at=now,
            done_at=now,
            job_id=job_id,
            failure=reason,
            refused=True,
        )
    return compute.power_event(state.settings, view.server, action, gentle=gentle, now=now, job_id=job_id)


def _refuse_other_projects(request: web.Request) -> None:
    if request.match_info["project_id"] != PROJECT_ID:
        raise Refusal(403, "The project id in the URL is not that of the credentials.", code="Common.0018")

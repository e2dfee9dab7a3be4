"""Servers as Nova writes them, and the jobs of ECS."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from batchexport.sandbox.catalog import stable_id
from batchexport.sandbox.fleet import Power, ServerView
from batchexport.sandbox.replies import glance_time
from batchexport.sandbox.settings import PROJECT_ID, USER_ID
from batchexport.sandbox.volume_records import AVAILABILITY_ZONE, CREATED_AT

POWER_STATES = {"ACTIVE": 1, "SHUTOFF": 4}
MICROVERSION = "2.1"


def full_server(view: ServerView, url: str) -> dict[str, object]:
    """A server with everything that is known of it, as microversion 2.1 has it."""
    server = view.server
    return {
        **short_server(view, url),
        "status": view.status,
        "tenant_id": PROJECT_ID,
        "user_id": USER_ID,
        "metadata": {},
        "hostId": stable_id("host"),
        "image": "",
        "flavor": {"id": "1", "links": [{"rel": "bookmark", "href": f"{_root(url)}/flavors/1"}]},
        "created": glance_time(CREATED_AT),
        "updated": glance_time(view.updated_at or CREATED_AT),
        "addresses": {},
        "accessIPv4": "",
        "accessIPv6": "",
        "config_drive": "",
        "key_name": None,
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": AVAILABILITY_ZONE,
        "OS-EXT-STS:task_state": view.task,
        "OS-EXT-STS:vm_state": view.vm_state,
        "OS-EXT-STS:power_state": POWER_STATES.get(view.status, 0),
        "os-extended-volumes:volumes_attached": [{"id": volume_id} for volume_id in server.volume_ids],
    } | ({"progress": 0} if view.status == "ACTIVE" else {})


def short_server(view: ServerView, url: str) -> dict[str, object]:
    """A server of the short list. `url` is that of the API with its version, such as `…/compute/v2.1`."""
    server = view.server
    tail = f"servers/{server.server_id}"
    links = [{"rel": "self", "href": f"{url}/{tail}"}, {"rel": "bookmark", "href": f"{_root(url)}/{tail}"}]
    return {"id": server.server_id, "name": server.name, "links": links}


def compute_version(url: str) -> dict[str, object]:
    """What the compute service says of its one version, which is at `url`."""
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": MICROVERSION,
        "min_version": MICROVERSION,
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{url}/"}],
    }


def job_record(job_id: str, powers: Sequence[Power], now: float) -> dict[str, object]:
    """A batch and its parts at `now`. It has failed where one of them has."""
    parts = [_part(job_id, power, now) for power in powers]
    statuses = {str(part["status"]) for part in parts}
    status = "RUNNING" if "RUNNING" in statuses else "FAIL" if "FAIL" in statuses else "SUCCESS"
    return {
        **_job_head(job_id, powers[0].action, status, powers[0].accepted_at),
        "entities": {"sub_jobs_total": len(parts), "sub_jobs": parts},
        "error_code": "Ecs.0000" if status == "FAIL" else None,
        "fail_reason": "a sub-job failed" if status == "FAIL" else None,
    }


def _part(job_id: str, power: Power, now: float) -> dict[str, object]:
    status = "RUNNING" if now < power.done_at else "FAIL" if power.failure else "SUCCESS"
    failed = status == "FAIL"
    part_id = str(uuid.uuid5(uuid.UUID(job_id), power.server_id))
    return {
        **_job_head(part_id, power.action, status, power.accepted_at),
        "entities": {"server_id": power.server_id},
        "error_code": "Ecs.0100" if failed else None,
        "fail_reason": power.failure if failed else None,
    }


def _job_head(job_id: str, action: str, status: str, began_at: float) -> dict[str, object]:
    return {
        "job_id": job_id,
        "job_type": f"{action}Server",
        "status": status,
        "begin_time": glance_time(began_at),
    }


def _root(url: str) -> str:
    return url.rpartition("/v")[0]

"""Stops and starts of many ECS servers with one request.

ECS accepts at most a thousand servers a minute, and reports in a job which of them failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from batchexport.clock import boottime_s
from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.error_mapping import error_from_job
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.errors import CloudError, OutcomeUnknownError

log = logging.getLogger(__name__)
STOP, START = "os-stop", "os-start"
MAX_BATCH = 1000
MAX_SERVERS_PER_MINUTE = 1000
#: Between two reads of a job. Guests need some 10 s to shut down.
JOB_POLL_S = 3.0
#: A job that takes longer is no longer followed: the servers are read instead.
JOB_TIMEOUT_S = 300.0


class Entities(msgspec.Struct):
    """The subject of a job: its parts, or, in a part, one server."""

    server_id: str | None = None
    errorcode_message: str | None = None
    sub_jobs: list[JobRecord] | None = None


class JobRecord(msgspec.Struct):
    """A job as returned, or one of its parts."""

    status: str
    error_code: str | None = None
    fail_reason: str | None = None
    entities: Entities | None = None

    @property
    def parts(self) -> Sequence[JobRecord]:
        """A job for each server, once the cloud has created them."""
        return (self.entities.sub_jobs or ()) if self.entities else ()

    @property
    def server_id(self) -> str | None:
        """The server that the part is about."""
        return self.entities.server_id if self.entities else None

    def error(self, url: str) -> CloudError:
        """Why it failed."""
        message = self.fail_reason or (self.entities.errorcode_message if self.entities else None)
        return error_from_job(url=url, code=self.error_code, message=message or "")


class BatchAccepted(msgspec.Struct):
    """The response to a batch that was accepted."""

    job_id: str


_JOB = msgspec.json.Decoder(JobRecord, strict=False)


_ACCEPTED = msgspec.json.Decoder(BatchAccepted)


class Batches:
    """Stops and starts the servers of one project in batches. For ECS."""

    def __init__(
        self,
        session: HttpSession,
        endpoint: Endpoint,
        *,
        steady: Callable[[], float] = boottime_s,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._steady = steady
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._sent: deque[tuple[float, int]] = deque(maxlen=MAX_SERVERS_PER_MINUTE)

    async def send(
        self, action: str, server_ids: Sequence[str], *, hard: bool, fence: Fence
    ) -> dict[str, CloudError]:
        """Request the action for at most `MAX_BATCH` servers, and follow its job to the end.

        Returns the errors by server id; raises CloudError if the batch was not accepted.
        """
        servers = [{"id": server_id} for server_id in server_ids]
        body = msgspec.json.encode({action: ecs_options(action, hard=hard) | {"servers": servers}})
        async with self._turn:
            await self._sleep(wait_s(self._sent, len(server_ids), now_s=self._steady()))
            self._sent.append((self._steady(), len(server_ids)))
        response = await self._session.request(
            "POST", self._endpoint, "/cloudservers/action", body=body, fence=fence
        )
        try:
            job_id = _ACCEPTED.decode(response.body).job_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise OutcomeUnknownError(
                f"the response ({response.status}) has no id of a job: {error}",
                method=response.method,
                url=response.url,
                status=response.status,
                request_id=response.request_id,
            ) from error
        return await self._followed(job_id, server_ids)

    async def _followed(self, job_id: str, server_ids: Sequence[str]) -> dict[str, CloudError]:
        """The errors of the job, by server id, as far as known when it ends or times out."""
        path = f"/jobs/{quote(job_id, safe='')}"
        give_up_at = self._steady() + JOB_TIMEOUT_S
        failed: dict[str, CloudError] = {}
        while self._steady() < give_up_at:
            await self._sleep(JOB_POLL_S)
            try:
                job = await self._session.read(self._endpoint, path, _JOB)
            except CloudError as error:
                extra = {"action": "job_read_failed", "job_id": job_id}
                log.warning("cannot read job %s, reading its servers instead: %s", job_id, error, extra=extra)
                break
            failed = failures(job, server_ids, url=self._endpoint.url + path)
            if job.status in ("SUCCESS", "FAIL"):
                break
        return failed


def ecs_options(action: str, *, hard: bool) -> dict[str, Any]:
    """The options of an action on ECS, besides its servers."""
    return {"type": "HARD" if hard else "SOFT"} if action == STOP else {}


def failures(job: JobRecord, server_ids: Iterable[str], *, url: str) -> dict[str, CloudError]:
    """The errors of a job, by server id."""
    failed = {part.server_id: part.error(url) for part in job.parts if part.status == "FAIL"}
    named = {server_id: failed[server_id] for server_id in server_ids if server_id in failed}
    if job.status != "FAIL" or named:
        return named
    # The job failed as a whole, perhaps before it had parts.
    done = {part.server_id for part in job.parts if part.status == "SUCCESS"}
    return {server_id: job.error(url) for server_id in server_ids if server_id not in done}


def wait_s(sent: Iterable[tuple[float, int]], more: int, *, now_s: float) -> float:
    """Seconds until `more` servers fit into the minute; `sent` holds the time and size of earlier batches."""
    recent = [(at, count) for at, count in sent if at + 60.0 > now_s]
    total, wait = more + sum(count for _, count in recent), 0.0
    for at, count in recent:
        if total <= MAX_SERVERS_PER_MINUTE:
            break
        total, wait = total - count, at + 60.0 - now_s
    return wait

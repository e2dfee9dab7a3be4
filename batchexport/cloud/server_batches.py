"""The batches of ECS: up to a thousand servers stopped or started by one request, and the job that follows.

ECS takes at most a thousand servers a minute. The job tells which of them could not be stopped or started.
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
from batchexport.cloud.faults import error_from_job
from batchexport.cloud.session import Session
from batchexport.errors import CloudError, OutcomeUnknownError

log = logging.getLogger(__name__)

STOP = "os-stop"
START = "os-start"
LARGEST_BATCH = 1000
MOST_A_MINUTE = 1000
#: Between two looks at a job. Guests need some 10 s to go down.
JOB_LOOK_S = 3.0
#: A job that takes longer is left to itself: the servers tell how they are.
JOB_PATIENCE_S = 300.0


class Entities(msgspec.Struct):
    """What a job is about: its parts, or in a part the one server."""

    server_id: str | None = None
    errorcode_message: str | None = None
    sub_jobs: list[JobRecord] | None = None


class JobRecord(msgspec.Struct):
    """A job as answered, and each of its parts."""

    status: str
    error_code: str | None = None
    fail_reason: str | None = None
    entities: Entities | None = None

    @property
    def parts(self) -> Sequence[JobRecord]:
        """A job for each server, once the cloud made them."""
        return (self.entities.sub_jobs or ()) if self.entities else ()

    @property
    def server_id(self) -> str | None:
        """The one server that it is about."""
        return self.entities.server_id if self.entities else None

    def error(self, url: str) -> CloudError:
        """Why it failed."""
        told = self.fail_reason or (self.entities.errorcode_message if self.entities else None)
        return error_from_job(url=url, code=self.error_code, message=told or "")


class Taken(msgspec.Struct):
    """The answer to a batch that was taken."""

    job_id: str


_JOB = msgspec.json.Decoder(JobRecord, strict=False)
_TAKEN = msgspec.json.Decoder(Taken)


def ecs_options(action: str, *, hard: bool) -> dict[str, Any]:
    """What ECS wants to know of an action beside its servers."""
    return {"type": "HARD" if hard else "SOFT"} if action == STOP else {}


def failures(job: JobRecord, server_ids: Iterable[str], *, url: str) -> dict[str, CloudError]:
    """Why, by server id, for those that the job says it failed for."""
    failed = {part.server_id: part.error(url) for part in job.parts if part.status == "FAIL"}
    named = {server_id: failed[server_id] for server_id in server_ids if server_id in failed}
    if job.status != "FAIL" or named:
        return named
    # It failed as a whole, perhaps before it had parts.
    done = {part.server_id for part in job.parts if part.status == "SUCCESS"}
    return {server_id: job.error(url) for server_id in server_ids if server_id not in done}


def wait_s(sent: Iterable[tuple[float, int]], asking: int, *, now_s: float) -> float:
    """Seconds until `asking` more servers fit into the minute; `sent` holds when how many were asked for."""
    recent = [(at, count) for at, count in sent if at + 60.0 > now_s]
    total, wait = asking + sum(count for _, count in recent), 0.0
    for at, count in recent:
        if total <= MOST_A_MINUTE:
            break
        total, wait = total - count, at + 60.0 - now_s
    return wait


class Batches:
    """Stops and starts the servers of one project by batches."""

    def __init__(
        self,
        session: Session,
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
        self._sent: deque[tuple[float, int]] = deque(maxlen=MOST_A_MINUTE)

    async def send(
        self, action: str, server_ids: Sequence[str], *, hard: bool, fence: Callable[[], None]
    ) -> dict[str, CloudError]:
        """Ask for the action on at most `LARGEST_BATCH` servers, and follow its job to the end.

        Returns why, by server id, for those it failed for; raises CloudError where the batch was not taken.
        """
        listed = {"servers": [{"id": server_id} for server_id in server_ids]}
        body = msgspec.json.encode({action: ecs_options(action, hard=hard) | listed})
        async with self._turn:
            await self._sleep(wait_s(self._sent, len(server_ids), now_s=self._steady()))
            self._sent.append((self._steady(), len(server_ids)))
        answer = await self._session.request(
            "POST", self._endpoint, "/cloudservers/action", body=body, fence=fence
        )
        try:
            job_id = _TAKEN.decode(answer.body).job_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise OutcomeUnknownError(
                f"answered {answer.status}, but not with the id of a job: {error}",
                method=answer.method,
                url=answer.url,
                status=answer.status,
                request_id=answer.request_id,
            ) from error
        return await self._followed(job_id, server_ids)

    async def _followed(self, job_id: str, server_ids: Sequence[str]) -> dict[str, CloudError]:
        """Which servers the job failed for, as far as it tells in time."""
        path = f"/jobs/{quote(job_id, safe='')}"
        give_up_at = self._steady() + JOB_PATIENCE_S
        failed: dict[str, CloudError] = {}
        while self._steady() < give_up_at:
            await self._sleep(JOB_LOOK_S)
            try:
                job = await self._session.read(self._endpoint, path, _JOB)
            except CloudError as error:
                log.warning("job %s cannot be read, the servers will tell: %s", job_id, error)
                break
            failed = failures(job, server_ids, url=self._endpoint.url + path)
            if job.status in ("SUCCESS", "FAIL"):
                break
        return failed

"""The compute service: read servers, stop them, and start them again; on ECS many with one request.

ECS accepts at most a thousand servers a minute, and reports in a job which of them failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from batchexport.clock import boottime_s
from batchexport.cloud.catalog import ComputeEndpoints, Endpoint
from batchexport.cloud.http.error_mapping import error_from_job
from batchexport.cloud.http.paging import LinkRecord, Pager, has_next_link
from batchexport.cloud.http.responses import epoch_s
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    TransientError,
)
from batchexport.model import Server

log = logging.getLogger(__name__)
T = TypeVar("T")
STOP, START = "os-stop", "os-start"
#: The assumed number of pages of the list of servers, until it has been read once.
UNKNOWN_PAGES = 3
#: Statuses of unknown states: since microversion 2.69 Nova lists servers of a cell that is down as `UNKNOWN`.
UNKNOWN_STATUSES = frozenset({"", "UNKNOWN"})
#: At most so many are read one by one: each of these requests delays an export.
MAX_BY_ID = 20
MAX_BATCH = 1000
MAX_SERVERS_PER_MINUTE = 1000
#: Between two reads of a job. Guests need some 10 s to shut down.
JOB_POLL_S = 3.0
#: A job that takes longer is no longer followed: the servers are read instead.
JOB_TIMEOUT_S = 300.0


class AttachedRecord(msgspec.Struct):
    """A volume attached to a server."""

    id: str


class ServerRecord(msgspec.Struct):
    """A server as returned."""

    id: str
    status: str | None = None
    name: str | None = None
    task_state: str | None = msgspec.field(name="OS-EXT-STS:task_state", default=None)
    updated: object = None
    attached: list[AttachedRecord] | None = msgspec.field(
        name="os-extended-volumes:volumes_attached", default=None
    )

    @property
    def is_partial(self) -> bool:
        """Whether the server's cell does not respond, so that only its id is known."""
        return (self.status or "").upper() in UNKNOWN_STATUSES

    def server(self) -> Server:
        """The server."""
        attached = None if self.attached is None else tuple(each.id for each in self.attached)
        return Server(
            server_id=self.id,
            status=(self.status or "").lower(),
            name=self.name,
            task=self.task_state,
            volume_ids=attached,
            updated_at=epoch_s(self.updated) if isinstance(self.updated, str) else None,
        )


class ServerResponse(msgspec.Struct):
    """The response that holds one server."""

    server: ServerRecord


class ServerPage(msgspec.Struct):
    """The response that holds a page of servers."""

    servers: list[ServerRecord]
    servers_links: list[LinkRecord] | None = None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the servers of this page."""
        return [record.id for record in self.servers]

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that another page follows."""
        return has_next_link(self.servers_links)


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


_SERVER = msgspec.json.Decoder(ServerResponse, strict=False)


_PAGE = msgspec.json.Decoder(ServerPage, strict=False)


_JOB = msgspec.json.Decoder(JobRecord, strict=False)


_ACCEPTED = msgspec.json.Decoder(BatchAccepted)


class Compute:
    """The servers of one project."""

    def __init__(
        self, session: HttpSession, endpoints: ComputeEndpoints, *, batches: Batches | None = None
    ) -> None:
        self._session = session
        self._nova = endpoints.nova
        self._pager = Pager(session, endpoints.nova)
        self._on_ecs = endpoints.ecs is not None
        self._batches = batches or (Batches(session, endpoints.ecs) if endpoints.ecs else None)
        self._list_pages: int | None = None  # None = never read whole

    async def servers(self, server_ids: Sequence[str]) -> AsyncIterator[Sequence[Server]]:
        """The state of these servers now, page by page, or all at once where that takes fewer requests.

        Servers missing from the list are read by their ids. A server that cannot be read is left out, which
        proves nothing; raises CloudError if none can be read.
        """
        wanted = set(server_ids)
        if not wanted:
            return
        listed = False
        if len(wanted) > min(self._list_pages or UNKNOWN_PAGES, MAX_BY_ID):
            try:
                async for found in self._listed(wanted):
                    listed = listed or bool(found)
                    wanted.difference_update(server.server_id for server in found)
                    yield found
            except AuthenticationError:
                raise
            except CloudError as error:
                extra = {"action": "server_list_failed"}
                log.warning("cannot list servers, reading them one by one: %s", error, extra=extra)
        if wanted:
            yield await self._by_ids(sorted(wanted)[:MAX_BY_ID], may_fail=listed)

    async def _listed(self, wanted: Collection[str]) -> AsyncIterator[list[Server]]:
        count = 0
        async for page in self._pager.pages("/servers/detail", _PAGE):
            count += 1
            yield [each.server() for each in page.servers if each.id in wanted and not each.is_partial]
        self._list_pages = max(count, 1)

    async def _by_ids(self, server_ids: Sequence[str], *, may_fail: bool) -> list[Server]:
        """These servers, except those that cannot be read. Raises if none can be, unless it `may_fail`."""
        results = await _each(server_ids, self._server_or_error)
        errors = [result for result in results if isinstance(result, CloudError)]
        for error in errors:
            if isinstance(error, AuthenticationError) or (len(errors) == len(server_ids) and not may_fail):
                raise error
            log.warning("cannot read a server: %s", error, extra={"action": "server_read_failed"})
        return [result for result in results if isinstance(result, Server)]

    async def _server_or_error(self, server_id: str) -> Server | CloudError:
        try:
            return await self.get_server(server_id)
        except CloudError as error:
            return error

    async def get_server(self, server_id: str) -> Server:
        """The server, read by its id. Raises CloudError if its state cannot be learned."""
        path = f"/servers/{quote(server_id, safe='')}"
        try:
            record = (await self._session.read(self._nova, path, _SERVER)).server
        except NotFoundError as error:
            if error.code is None:  # perhaps from a gateway, not from the compute service
                raise
            return Server(server_id=server_id, status="", exists=False)
        if record.is_partial:
            raise TransientError(
                f"the compute service does not know the state of server {server_id} now",
                method="GET",
                url=self._nova.url + path,
            )
        return record.server()

    async def stop_servers(
        self, server_ids: Sequence[str], *, hard: bool, fence: Fence
    ) -> dict[str, CloudError]:
        """Request that these be stopped. Returns, by server id, the errors of those refused or in doubt.

        Raises AuthenticationError, which concerns all. `hard` is for ECS; Nova powers off unresponsive guests
        itself.
        """
        return await self._power(STOP, server_ids, hard=hard, fence=fence)

    async def start_servers(self, server_ids: Sequence[str], *, fence: Fence) -> dict[str, CloudError]:
        """Request that these be started; returns the same as `stop_servers`."""
        return await self._power(START, server_ids, hard=False, fence=fence)

    async def _power(
        self, action: str, server_ids: Sequence[str], *, hard: bool, fence: Fence
    ) -> dict[str, CloudError]:
        failed: dict[str, CloudError] = {}
        each_once = list(dict.fromkeys(server_ids))
        for begin in range(0, len(each_once), MAX_BATCH):
            batch = each_once[begin : begin + MAX_BATCH]
            # For one server a batch is not worth a job to follow.
            if self._batches is None or len(batch) == 1:
                failed |= await self._one_by_one(action, batch, hard=hard, fence=fence)
            else:
                failed |= await self._batch(self._batches, action, batch, hard=hard, fence=fence)
        return failed

    async def _batch(
        self, batches: Batches, action: str, batch: Sequence[str], *, hard: bool, fence: Fence
    ) -> dict[str, CloudError]:
        try:
            return await batches.send(action, batch, hard=hard, fence=fence)
        except AuthenticationError:
            raise
        except RefusedError as error:
            # A single server that is gone or busy may be the reason.
            extra = {"action": "batch_refused", "request": action, "servers": len(batch)}
            log.warning(
                "%s of %d servers refused, requesting each alone: %s", action, len(batch), error, extra=extra
            )
        except CloudError as error:
            return dict.fromkeys(batch, error)
        return await self._one_by_one(action, batch, hard=hard, fence=fence)

    async def _one_by_one(
        self, action: str, server_ids: Sequence[str], *, hard: bool, fence: Fence
    ) -> dict[str, CloudError]:
        options = ecs_options(action, hard=hard) if self._on_ecs else None
        ask = partial(self._ask, body=msgspec.json.encode({action: options}), fence=fence)
        results = await _each(server_ids, ask)
        return {server_id: error for server_id, error in zip(server_ids, results, strict=True) if error}

    async def _ask(self, server_id: str, *, body: bytes, fence: Fence) -> CloudError | None:
        path = f"/servers/{quote(server_id, safe='')}/action"
        try:
            await self._session.request("POST", self._nova, path, body=body, fence=fence)
        except AuthenticationError:
            raise
        except CloudError as error:
            return error
        return None


async def _each(server_ids: Iterable[str], ask: Callable[[str], Coroutine[Any, Any, T]]) -> list[T]:
    """The results of `ask` for each, as many at a time as the session allows; the first error ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(server_id)) for server_id in server_ids]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


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

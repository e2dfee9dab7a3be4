"""The compute service: read servers, stop them, and start them again; on ECS many with one request."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import ComputeEndpoints
from batchexport.cloud.http.paging import LinkRecord, Pager, has_next_link
from batchexport.cloud.http.responses import epoch_s
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.cloud.server_batches import MAX_BATCH, START, STOP, Batches, ecs_options
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    NotFoundError,
    RefusedError,
    TransientError,
)
from batchexport.model import Server

log = logging.getLogger(__name__)
T = TypeVar("T")
#: The assumed number of pages of the list of servers, until it has been read once.
UNKNOWN_PAGES = 3
#: Statuses of unknown states: since microversion 2.69 Nova lists servers of a cell that is down as `UNKNOWN`.
UNKNOWN_STATUSES = frozenset({"", "UNKNOWN"})
#: At most so many are read one by one: each of these requests delays an export.
MAX_BY_ID = 20


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


_SERVER = msgspec.json.Decoder(ServerResponse, strict=False)


_PAGE = msgspec.json.Decoder(ServerPage, strict=False)


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
        self._last_by_id = ""

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
            yield await self._by_ids(self._next_by_id(wanted), may_fail=listed)

    def _next_by_id(self, wanted: Collection[str]) -> list[str]:
        """As many of these as are read by id at once: those behind the last ones, so that all get a turn."""
        ordered = sorted(wanted)
        first = bisect_right(ordered, self._last_by_id)
        chosen = (ordered[first:] + ordered[:first])[:MAX_BY_ID]
        self._last_by_id = chosen[-1]
        return chosen

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

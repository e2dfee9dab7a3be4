"""The calls to the compute service: look at servers, stop them, and start them again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import ComputeEndpoints
from batchexport.cloud.pages import LinkRecord, leads_on, pages
from batchexport.cloud.server_batches import LARGEST_BATCH, START, STOP, Batches, ecs_options
from batchexport.cloud.session import Session
from batchexport.errors import CloudError, NotFoundError, RefusedError, SignInError, TransientError
from batchexport.model import Server

log = logging.getLogger(__name__)
T = TypeVar("T")

#: As long as nobody knows how many pages the list of servers has, it is taken for so many.
UNKNOWN_PAGES = 3
#: Statuses of servers of which nothing is known. Since microversion 2.69 Nova lists servers of a cell that is
#: down as `UNKNOWN`, with little more than their ids; before, it leaves them out.
UNTOLD = frozenset({"", "UNKNOWN"})
#: More than so many are never asked for one by one: each takes its turn at the gate before an export.
MOST_BY_ID = 20


class AttachedRecord(msgspec.Struct):
    """A volume that is attached to a server."""

    id: str


class ServerRecord(msgspec.Struct):
    """A server as answered."""

    id: str
    status: str | None = None
    name: str | None = None
    task_state: str | None = msgspec.field(name="OS-EXT-STS:task_state", default=None)
    attached: list[AttachedRecord] | None = msgspec.field(
        name="os-extended-volumes:volumes_attached", default=None
    )

    @property
    def is_partial(self) -> bool:
        """Whether it stands for a server of a cell that does not answer: nothing but its id is known."""
        return (self.status or "").upper() in UNTOLD

    def server(self) -> Server:
        """The same in our words."""
        attached = None if self.attached is None else tuple(each.id for each in self.attached)
        return Server(
            server_id=self.id,
            status=(self.status or "").lower(),
            name=self.name,
            task=self.task_state,
            volume_ids=attached,
        )


class ServerAnswer(msgspec.Struct):
    """The answer that holds one server."""

    server: ServerRecord


class ServerPage(msgspec.Struct):
    """The answer that holds a page of servers."""

    servers: list[ServerRecord]
    servers_links: list[LinkRecord] | None = None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the servers of this page."""
        return [record.id for record in self.servers]

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that there are more."""
        return leads_on(self.servers_links)


_SERVER = msgspec.json.Decoder(ServerAnswer, strict=False)
_PAGE = msgspec.json.Decoder(ServerPage, strict=False)


class Compute:
    """The servers of one project. Every call raises ConfigError where the cloud has no compute service."""

    def __init__(
        self, session: Session, endpoints: ComputeEndpoints, *, batches: Batches | None = None
    ) -> None:
        self._session = session
        self._nova = endpoints.nova
        self._on_ecs = endpoints.ecs is not None
        self._batches = batches or (Batches(session, endpoints.ecs) if endpoints.ecs else None)
        self._list_pages: int | None = None  # None = never read whole

    async def servers(self, server_ids: Sequence[str]) -> AsyncIterator[Sequence[Server]]:
        """What is known of these servers now, page by page, or all at once where that costs less.

        Those that the list leaves out are asked for by their ids. What cannot be learned of one is left out,
        and proves nothing; raises CloudError where that is so of all.
        """
        wanted = set(server_ids)
        if not wanted:
            return
        listed = False
        if len(wanted) > min(self._list_pages or UNKNOWN_PAGES, MOST_BY_ID):
            try:
                async for told in self._listed(wanted):
                    listed = listed or bool(told)
                    wanted.difference_update(server.server_id for server in told)
                    yield told
            except SignInError:
                raise
            except CloudError as error:
                log.warning("the list of servers cannot be read, asking for each alone: %s", error)
        if wanted:
            yield await self._by_ids(sorted(wanted)[:MOST_BY_ID], may_fail=listed)

    async def _listed(self, wanted: Collection[str]) -> AsyncIterator[list[Server]]:
        count = 0
        async for page in pages(self._session, self._nova, "/servers/detail", _PAGE):
            count += 1
            yield [each.server() for each in page.servers if each.id in wanted and not each.is_partial]
        self._list_pages = max(count, 1)

    async def _by_ids(self, server_ids: Sequence[str], *, may_fail: bool) -> list[Server]:
        """These servers, but for those that cannot be read; where that is all of them, it raises unless it
        `may_fail`.
        """
        answers = await _each(server_ids, self._server_or_error)
        errors = [answer for answer in answers if isinstance(answer, CloudError)]
        for error in errors:
            if isinstance(error, SignInError) or (len(errors) == len(server_ids) and not may_fail):
                raise error
            log.warning("a server cannot be looked at: %s", error)
        return [answer for answer in answers if isinstance(answer, Server)]

    async def _server_or_error(self, server_id: str) -> Server | CloudError:
        try:
            return await self.get_server(server_id)
        except CloudError as error:
            return error

    async def get_server(self, server_id: str) -> Server:
        """The server, asked for by its id. Raises CloudError where nothing can be learned of it."""
        path = f"/servers/{quote(server_id, safe='')}"
        try:
            record = (await self._session.read(self._nova, path, _SERVER)).server
        except NotFoundError as error:
            if error.code is None:  # words of a gateway, perhaps, and not of the compute service
                raise
            return Server(server_id=server_id, status="", exists=False)
        if record.is_partial:
            raise TransientError(
                f"the compute service does not know now how server {server_id} is",
                method="GET",
                url=self._nova.url + path,
            )
        return record.server()

    async def stop_servers(
        self, server_ids: Sequence[str], *, hard: bool, fence: Callable[[], None]
    ) -> dict[str, CloudError]:
        """Ask for these to be stopped. Returns why, for those of which it was not taken or nobody knows.

        Raises SignInError, which is about all of them. `hard` is for ECS: Nova by itself cuts the power of
        a guest that does not heed.
        """
        return await self._power(STOP, server_ids, hard=hard, fence=fence)

    async def start_servers(
        self, server_ids: Sequence[str], *, fence: Callable[[], None]
    ) -> dict[str, CloudError]:
        """Ask for these to be started; returns as `stop_servers`."""
        return await self._power(START, server_ids, hard=False, fence=fence)

    async def _power(
        self, action: str, server_ids: Sequence[str], *, hard: bool, fence: Callable[[], None]
    ) -> dict[str, CloudError]:
        failed: dict[str, CloudError] = {}
        each_once = list(dict.fromkeys(server_ids))
        for begin in range(0, len(each_once), LARGEST_BATCH):
            batch = each_once[begin : begin + LARGEST_BATCH]
            # For one server a batch would cost a job to follow.
            if self._batches is None or len(batch) == 1:
                failed |= await self._one_by_one(action, batch, hard=hard, fence=fence)
            else:
                failed |= await self._batch(self._batches, action, batch, hard=hard, fence=fence)
        return failed

    async def _batch(
        self, batches: Batches, action: str, batch: Sequence[str], *, hard: bool, fence: Callable[[], None]
    ) -> dict[str, CloudError]:
        try:
            return await batches.send(action, batch, hard=hard, fence=fence)
        except SignInError:
            raise
        except RefusedError as error:
            # One server that is gone or busy may be why: the others shall not suffer from it.
            log.warning("%s of %d servers was refused, asking for each alone: %s", action, len(batch), error)
        except CloudError as error:
            return dict.fromkeys(batch, error)
        return await self._one_by_one(action, batch, hard=hard, fence=fence)

    async def _one_by_one(
        self, action: str, server_ids: Sequence[str], *, hard: bool, fence: Callable[[], None]
    ) -> dict[str, CloudError]:
        options = ecs_options(action, hard=hard) if self._on_ecs else None
        ask = partial(self._ask, body=msgspec.json.encode({action: options}), fence=fence)
        answers = await _each(server_ids, ask)
        return {server_id: error for server_id, error in zip(server_ids, answers, strict=True) if error}

    async def _ask(self, server_id: str, *, body: bytes, fence: Callable[[], None]) -> CloudError | None:
        path = f"/servers/{quote(server_id, safe='')}/action"
        try:
            await self._session.request("POST", self._nova, path, body=body, fence=fence)
        except SignInError:
            raise
        except CloudError as error:
            return error
        return None


async def _each(server_ids: Iterable[str], ask: Callable[[str], Coroutine[Any, Any, T]]) -> list[T]:
    """What `ask` tells of each, as many at a time as the session lets through; its first error ends them."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(server_id)) for server_id in server_ids]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]

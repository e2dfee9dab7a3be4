"""The servers of one target for the process that works: what is awaited is durable when it returns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from batchexport.model import Job, Server, ServerState
from batchexport.store import servers
from batchexport.store.neighbours import Elsewhere, down_elsewhere
from batchexport.store.records import AfootServer, LinkedRow
from batchexport.store.writer import TargetWriter


class ServerBook:
    """Which servers are down for which rows. Raises what `Work` raises."""

    def __init__(self, writer: TargetWriter, path: Path) -> None:
        self._writer = writer
        self._path = path

    async def afoot(self) -> list[AfootServer]:
        """The servers that are not up again."""
        return await self._writer.ask(servers.afoot)

    async def next_held(self, job_id: int, *, limit: int) -> list[LinkedRow]:
        """The first rows behind this one that wait for servers, in the order of the list."""
        return await self._writer.ask(servers.next_held, job_id=job_id, limit=limit)

    async def rows_of(self, server_ids: Collection[str]) -> list[LinkedRow]:
        """The rows that hang on any of these servers and are not at their end."""
        return await self._writer.ask(servers.rows_of, server_ids=server_ids)

    async def under_way(self) -> list[LinkedRow]:
        """The rows that were sent and hang on servers."""
        return await self._writer.ask(servers.under_way)

    async def disturbed(self) -> dict[int, str]:
        """By job id, the server that came up while the volume of the row was being exported."""
        return await self._writer.ask(servers.disturbed)

    async def volumes_of(self, server_ids: Collection[str]) -> frozenset[str]:
        """The volumes of all rows that hang on these servers, whatever became of them."""
        return await self._writer.ask(servers.volumes_of, server_ids=server_ids)

    async def down_elsewhere(self) -> dict[str, Elsewhere]:
        """The servers that other state files of the folder have stopped, by id."""
        return await self._writer.run(lambda _: down_elsewhere(self._path))

    def hold(self, job: Job, server_ids: Sequence[str]) -> None:
        """A pending row waits for these servers: nobody claims it. Durable with the next flush."""
        self._writer.submit(servers.hold, job_id=job.job_id, server_ids=server_ids)

    async def link(self, job: Job, server_ids: Sequence[str]) -> None:
        """The row hangs on these servers, and on no others."""
        await self._writer.ask(servers.link, job_id=job.job_id, server_ids=server_ids)

    async def release(self, jobs: Sequence[Job], *, at_s: float) -> None:
        """These rows may go, before all that never waited."""
        job_ids = [job.job_id for job in jobs]
        await self._writer.ask(servers.release, job_ids=job_ids, next_at=at_s)

    async def let_go(self, jobs: Sequence[Job]) -> None:
        """These rows have nothing to do with servers any more, and may go."""
        job_ids = [job.job_id for job in jobs]
        await self._writer.ask(servers.let_go, job_ids=job_ids)

    async def stopping(self, found: Sequence[Server], *, at_s: float) -> None:
        """These are about to be asked to stop, and were found like this."""
        await self._writer.ask(servers.stopping, servers=found, at=at_s)

    async def down(self, server_ids: Collection[str], *, at_s: float) -> None:
        """These have stopped."""
        await self._writer.ask(servers.down, server_ids=server_ids, at=at_s)

    async def start(self, server_ids: Collection[str], *, anyway: bool = False) -> frozenset[str]:
        """Those of these that may be asked to start: nothing of them is being copied, unless `anyway`, and
        what is pending is held again.
        """
        return await self._writer.ask(servers.start, server_ids=server_ids, anyway=anyway)

    async def up(
        self,
        server_ids: Collection[str],
        *,
        at_s: float,
        state: ServerState = ServerState.UP,
    ) -> None:
        """These are up again, or gone; what is pending of them is held."""
        await self._writer.ask(servers.up, server_ids=server_ids, state=state, at=at_s)

    async def runs(self, server_ids: Collection[str], *, at_s: float) -> None:
        """These, which are not ours to start, were seen running."""
        await self._writer.ask(servers.runs, server_ids=server_ids, at=at_s)

    async def note(self, server_id: str, words: str) -> None:
        """What is wrong with a server, until it is up."""
        await self._writer.ask(servers.note, server_id=server_id, words=words)

"""The servers of one state file for the process that works: what is awaited is durable when it returns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from batchexport.model import InUse, Job, Server, ServerState
from batchexport.store import servers
from batchexport.store.lease import Lease
from batchexport.store.neighbours import Elsewhere, down_elsewhere
from batchexport.store.records import AfootServer, LinkedRow
from batchexport.store.writer import Writer


class ServerBook:
    """Which servers are down for which rows. Raises what `StateFile` raises."""

    def __init__(self, writer: Writer, path: Path) -> None:
        self._writer = writer
        self._path = path

    async def count_afoot(self) -> int:
        """How many servers of all targets are not up again."""
        return await self._writer.ask(servers.count_afoot)

    async def afoot(self, held: Lease) -> list[AfootServer]:
        """The servers that are not up again."""
        return await self._writer.ask(partial(servers.afoot, target_id=held.target_id), held)

    async def next_held(self, held: Lease, job_id: int, *, limit: int) -> list[LinkedRow]:
        """The first rows behind this one that wait for servers, in the order of the list."""
        asking = partial(servers.next_held, target_id=held.target_id, job_id=job_id, limit=limit)
        return await self._writer.ask(asking, held)

    async def rows_of(self, held: Lease, server_ids: Collection[str]) -> list[LinkedRow]:
        """The rows that hang on any of these servers and are not at their end."""
        asking = partial(servers.rows_of, target_id=held.target_id, server_ids=server_ids)
        return await self._writer.ask(asking, held)

    async def under_way(self, held: Lease) -> list[LinkedRow]:
        """The rows that were sent and hang on servers."""
        return await self._writer.ask(partial(servers.under_way, target_id=held.target_id), held)

    async def disturbed(self, held: Lease) -> dict[int, str]:
        """By job id, the server that came up while the volume of the row was being exported."""
        return await self._writer.ask(partial(servers.disturbed, target_id=held.target_id), held)

    async def volumes_of(self, held: Lease, server_ids: Collection[str]) -> frozenset[str]:
        """The volumes of all rows that hang on these servers, whatever became of them."""
        asking = partial(servers.volumes_of, target_id=held.target_id, server_ids=server_ids)
        return await self._writer.ask(asking, held)

    async def down_elsewhere(self, held: Lease) -> dict[str, Elsewhere]:
        """The servers that other state files of the folder have stopped, by id."""
        return await self._writer.ask(lambda _: down_elsewhere(self._path), held)

    def hold(self, held: Lease, job: Job, server_ids: Sequence[str]) -> None:
        """A pending row waits for these servers: nobody claims it. Durable with the next flush."""
        held.check_owned()
        holding = partial(servers.hold, target_id=held.target_id, job_id=job.job_id, server_ids=server_ids)
        self._writer.submit(holding, held)

    async def link(self, held: Lease, job: Job, server_ids: Sequence[str]) -> None:
        """The row hangs on these servers, and on no others."""
        linking = partial(servers.link, target_id=held.target_id, job_id=job.job_id, server_ids=server_ids)
        await self._writer.ask(linking, held)

    async def release(self, held: Lease, jobs: Sequence[Job], *, at_s: float) -> None:
        """These rows may go, before all that never waited."""
        job_ids = [job.job_id for job in jobs]
        releasing = partial(servers.release, target_id=held.target_id, job_ids=job_ids, next_at=at_s)
        await self._writer.ask(releasing, held)

    async def let_go(self, held: Lease, jobs: Sequence[Job]) -> None:
        """These rows have nothing to do with servers any more, and may go."""
        job_ids = [job.job_id for job in jobs]
        await self._writer.ask(partial(servers.let_go, target_id=held.target_id, job_ids=job_ids), held)

    async def stopping(self, held: Lease, found: Sequence[Server], *, at_s: float) -> None:
        """These are about to be asked to stop, and were found like this."""
        change = partial(servers.stopping, target_id=held.target_id, servers=found, at=at_s)
        await self._writer.ask(change, held)

    async def down(self, held: Lease, server_ids: Collection[str], *, at_s: float) -> None:
        """These have stopped."""
        change = partial(servers.down, target_id=held.target_id, server_ids=server_ids, at=at_s)
        await self._writer.ask(change, held)

    async def start(
        self, held: Lease, server_ids: Collection[str], *, anyway: bool = False
    ) -> frozenset[str]:
        """Those of these that may be asked to start: nothing of them is being copied, unless `anyway`, and
        what is pending is held again.
        """
        change = partial(servers.start, target_id=held.target_id, server_ids=server_ids, anyway=anyway)
        return await self._writer.ask(change, held)

    async def up(
        self,
        held: Lease,
        server_ids: Collection[str],
        *,
        at_s: float,
        state: ServerState = ServerState.UP,
    ) -> None:
        """These are up again, or gone; what is pending of them is held."""
        change = partial(servers.up, target_id=held.target_id, server_ids=server_ids, state=state, at=at_s)
        await self._writer.ask(change, held)

    async def runs(self, held: Lease, server_ids: Collection[str], *, at_s: float) -> None:
        """These, which are not ours to start, were seen running."""
        change = partial(servers.runs, target_id=held.target_id, server_ids=server_ids, at=at_s)
        await self._writer.ask(change, held)

    async def give_up(self, server_id: str, words: str, *, at_s: float) -> int:
        """Somebody decided that this server is not to be started by us; for how many targets it was down."""
        return await self._writer.ask(partial(servers.give_up, server_id=server_id, words=words, at=at_s))

    async def note(self, held: Lease, server_id: str, words: str) -> None:
        """What is wrong with a server, until it is up."""
        change = partial(servers.note, target_id=held.target_id, server_id=server_id, words=words)
        await self._writer.ask(change, held)

    async def agree(self, in_use: InUse) -> None:
        """Somebody agreed to servers being stopped by this run; `in_use` is for rows that say nothing."""
        await self._writer.ask(partial(servers.agree, in_use=in_use))

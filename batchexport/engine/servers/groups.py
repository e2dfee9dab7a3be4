"""Rows and servers that hang together, by shared disks or several volumes: taken as one or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from batchexport.config import InUse, Settings
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud, cloud_name
from batchexport.engine.servers import moves
from batchexport.engine.servers.moves import Chosen, Fit
from batchexport.errors import CloudError, RefusedError, SignInError
from batchexport.model import Ending, JobState, Server
from batchexport.shell_command import on_state_file
from batchexport.store import Elsewhere, LinkedRow, Work

log = logging.getLogger(__name__)

#: Rows that wait are read so many at a time; the first that can go is mostly among the first.
PAGE = 100
#: How long a group is left alone whose servers are on their way to another status.
LOOK_AGAIN_S = 30.0
#: A row whose volume cannot be read for so long ends: refused it will stay so, an outage may take a while.
REFUSED_MAX_S, AWAY_MAX_S = 120.0, 3600.0


#: How long rows wait for a server that another run has stopped: copies of large volumes take hours.
ELSEWHERE_S = 4 * 3600.0
#: What other state files say is asked for at most so often, for there may be many.
FILES_EVERY_S = 5.0


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that hang together by their servers, looked at a moment ago."""

    rows: Sequence[LinkedRow]
    chosen: Chosen


class ServerGroups:
    """Finds the next rows to stop servers for, in the order of the list, and looks at what they hang on."""

    def __init__(
        self,
        cloud: Cloud,
        work: Work,
        ledger: Ledger,
        settings: Settings,
        *,
        may_go: Callable[[LinkedRow], bool],
    ) -> None:
        self._cloud = cloud
        self._book = work.servers
        self._ledger = ledger
        self._settings = settings
        self._may_go = may_go
        self._later: dict[int, float] = {}  # job id -> loop time before which it is passed over
        #: (Server id, whether the compute service says that there is none) -> loop time.
        self._passing_since: dict[tuple[str, bool], float] = {}
        self._elsewhere: dict[str, Elsewhere] = {}  # by server id
        self._files_at = 0.0  # loop time at which other state files are to be looked at again
        self._elsewhere_since: dict[str, float] = {}  # server id -> loop time
        self._unread_since: dict[int, float] = {}  # job id -> loop time since which no look read its volume

    async def next(self, *, but: Collection[int], afoot: Collection[str]) -> list[LinkedRow]:
        """The first row that waits and may go, and all that hang together with it; empty where there is none.

        Rows that are in `but`, or of whose servers all are afoot, are passed over.
        """
        loop_now = asyncio.get_running_loop().time()
        last = 0
        while page := await self._book.next_held(last, limit=PAGE):
            last = page[-1].job.job_id
            for row in await self._ours(page):
                seen_to = row.server_ids and set(row.server_ids) <= set(afoot)
                if row.job.job_id in but or seen_to or self._later.get(row.job.job_id, 0.0) > loop_now:
                    continue
                if self._may_go(row):
                    return await self._together([row])
        return []

    async def fail_all(self, ending: Ending) -> None:
        """End every row that waits."""
        last = 0
        while page := await self._book.next_held(last, limit=PAGE):
            last = page[-1].job.job_id
            for row in await self._ours(page):
                self._ledger.reject(row.job, JobState.FAILED, ending)

    async def look(self, rows: Sequence[LinkedRow], *, afoot: Collection[str]) -> Group:
        """The group as it is now: its volumes one by one, for they may have been waiting long; its servers.

        Rows whose volumes are no longer in use are let go. A group of which a volume cannot be read is left
        for later, and empty.
        """
        fresh: dict[int, LinkedRow] = {}
        while new := [row for row in rows if row.job.job_id not in fresh]:
            for row in new:
                try:
                    fresh[row.job.job_id] = await self._look_at_volume(row)
                except CloudError as error:
                    self._note_unread(row, rows, error)
                    return Group(rows=(), chosen=Chosen())
                self._unread_since.pop(row.job.job_id, None)
            rows = await self._together([row for row in fresh.values() if row.server_ids])
        rows = list({row.job.job_id: row for row in (*fresh.values(), *rows)}.values())
        rows = [row for row in rows if row.held and self._may_go(row)]
        return Group(rows=rows, chosen=await self._choose(rows, afoot))

    def put_off(self, group: Group) -> None:
        """Look at the group again when what its servers are going through may have passed."""
        loop_now = asyncio.get_running_loop().time()
        self._later.update({row.job.job_id: loop_now + LOOK_AGAIN_S for row in group.rows})

    async def found(self, server_ids: Collection[str]) -> dict[str, Server]:
        """What is known of these servers now, by id."""
        if not server_ids:
            return {}
        pages = self._cloud.compute.servers(sorted(server_ids))
        return {server.server_id: server async for page in pages for server in page}

    async def _ours(self, rows: Sequence[LinkedRow]) -> list[LinkedRow]:
        """Those of these that servers are to be stopped for; others are let go to meet the cloud's answer."""
        policy = self._settings.in_use
        others = [row.job for row in rows if (row.job.options.in_use or policy) is not InUse.STOP]
        if not others:
            return list(rows)
        await self._book.let_go(others)
        self._ledger.release([])
        return [row for row in rows if row.job not in others]

    async def _together(self, rows: Sequence[LinkedRow]) -> list[LinkedRow]:
        """These rows with all that share servers with them, directly or through others."""
        group = {row.job.job_id: row for row in rows}
        known: set[str] = set()
        while new := {server_id for row in group.values() for server_id in row.server_ids} - known:
            known |= new
            more = await self._book.rows_of(new)
            group.update((row.job.job_id, row) for row in more)
        return sorted(group.values(), key=lambda row: row.job.job_id)

    async def _look_at_volume(self, row: LinkedRow) -> LinkedRow:
        """The row, on the servers that its volume is attached to now; on none where it is not in use."""
        if not row.held:
            return row
        volume = await self._cloud.block_storage.get_volume(row.job.volume_id)
        if volume is None or volume.status != "in-use":
            await self._book.let_go([row.job])
            self._ledger.release([])
            return replace(row, held=False, server_ids=())
        server_ids = tuple(sorted(volume.server_ids))
        if server_ids != row.server_ids:
            await self._book.link(row.job, server_ids)
        job = replace(row.job, size_gib=volume.size_gib or row.job.size_gib)
        return replace(row, job=job, server_ids=server_ids)

    def _note_unread(self, row: LinkedRow, rows: Sequence[LinkedRow], error: CloudError) -> None:
        """The volume of this row cannot be read: leave its group for later, and end it in the end."""
        loop_now = asyncio.get_running_loop().time()
        if isinstance(error, SignInError) and not error.method:
            raise error
        since = self._unread_since.setdefault(row.job.job_id, loop_now)
        self._later.update({each.job.job_id: loop_now + LOOK_AGAIN_S for each in rows})
        log.info("volume %s: cannot look at it (%s)", row.job.volume_id, error)
        if loop_now - since >= (REFUSED_MAX_S if isinstance(error, RefusedError) else AWAY_MAX_S):
            ending = refusal("its volume cannot be looked at before its server is stopped", error)
            self._ledger.reject(row.job, JobState.FAILED, ending)

    async def _choose(self, rows: Sequence[LinkedRow], afoot: Collection[str]) -> Chosen:
        server_ids = {server_id for row in rows for server_id in row.server_ids} - set(afoot)
        try:
            found = await self.found(server_ids)
        except SignInError:
            raise
        except RefusedError as error:
            ending = refusal("the compute service does not show the servers", error)
            return Chosen(failed={row.job.job_id: ending for row in rows})
        off = [server_id for server_id, server in found.items() if moves.fit_of(server) is Fit.OFF]
        elsewhere = await self._down_elsewhere(off) if off else {}
        waiting = {each for each, other in elsewhere.items() if self._must_wait_for(each, other)}
        chosen = moves.choose(
            rows,
            found,
            afoot=afoot,
            tired_of=self._tired_of(server_ids, found),
            waiting=waiting,
            lost={
                each: _lost(each, other, cloud_name(self._cloud))
                for each, other in elsewhere.items()
                if each not in waiting
            },
        )
        self._note_passing(server_ids - chosen.passing, chosen.passing, found)
        return chosen

    async def _down_elsewhere(self, server_ids: Collection[str]) -> dict[str, Elsewhere]:
        loop_now = asyncio.get_running_loop().time()
        if loop_now >= self._files_at:
            self._files_at = loop_now + FILES_EVERY_S
            self._elsewhere = await self._book.down_elsewhere()
        return {each: self._elsewhere[each] for each in server_ids if each in self._elsewhere}

    def _must_wait_for(self, server_id: str, other: Elsewhere) -> bool:
        """Whether the server, which another run has stopped, may soon be started by that run."""
        loop_now = asyncio.get_running_loop().time()
        since = self._elsewhere_since.setdefault(server_id, loop_now)
        if since == loop_now:
            log.warning(
                "server %s is down for the exports of %s: its volumes wait for that, %.0f h at the longest",
                server_id,
                other.path,
                ELSEWHERE_S / 3600,
            )
        return other.is_working and loop_now - since < ELSEWHERE_S

    def _tired_of(self, server_ids: Collection[str], found: Mapping[str, Server]) -> set[str]:
        loop_now = asyncio.get_running_loop().time()
        patience_s = {True: moves.GONE_AFTER_S, False: self._settings.server_stops.stop_timeout_s}
        tired_of: set[str] = set()
        for server_id in server_ids:
            missing = _is_missing(found.get(server_id))
            since = self._passing_since.get((server_id, missing), loop_now)
            if loop_now - since >= patience_s[missing]:
                tired_of.add(server_id)
        return tired_of

    def _note_passing(
        self, settled: Collection[str], passing: Collection[str], found: Mapping[str, Server]
    ) -> None:
        for server_id in settled:
            self._passing_since.pop((server_id, True), None)
            self._passing_since.pop((server_id, False), None)
        for server_id in passing:
            missing = _is_missing(found.get(server_id))
            self._passing_since.setdefault((server_id, missing), asyncio.get_running_loop().time())


def _is_missing(server: Server | None) -> bool:
    return server is not None and not server.exists


def _lost(server_id: str, other: Elsewhere, cloud: str | None) -> Ending:
    """How a row ends whose server another run has stopped and does not start."""
    start = on_state_file("servers", other.path, " --start", cloud=cloud)
    reason = (
        f"not sent: server {server_id} was stopped for run {other.run_id} and is not up again;"
        f" `{start}` starts it"
    )
    return Ending(reason=reason, code="server_down_elsewhere")


def refusal(what: str, error: CloudError) -> Ending:
    """How a row ends whose server the cloud does not let us stop."""
    return Ending(
        reason=f"not sent: {what}: {error}",
        code=error.code or "server_refused",
        status=error.status,
        request_id=error.request_id,
    )

"""Stopping servers for the export of their volumes, and starting them again, whatever happens.

Every step is in the state file before it is taken, so that whoever comes next knows which servers to start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from batchexport.config import InUse, Settings
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud
from batchexport.engine.servers import moves
from batchexport.engine.servers.care import ServerCare
from batchexport.engine.servers.groups import ServerGroups
from batchexport.engine.servers.orders import ServerOrders
from batchexport.errors import CloudError, SignInError
from batchexport.model import JobState, ServerState
from batchexport.store import AfootServer, LinkedRow, StateFile

log = logging.getLogger(__name__)

#: Between two looks, where no other interval was asked for.
POLL_S = 5.0
#: How often to look at servers that are down and wait for their exports: somebody else may start them.
GLANCE_S = 60.0


class Downtime:
    """Takes servers down for the rows of one target that wait for it, and brings every one up again."""

    def __init__(
        self,
        cloud: Cloud,
        state: StateFile,
        ledger: Ledger,
        settings: Settings,
        *,
        most_gib: Callable[[float], int] | None = None,
    ) -> None:
        self._book = state.servers
        self._ledger = ledger
        self._settings = settings
        self._most_gib = most_gib
        orders = ServerOrders(cloud, ledger, hard=settings.downtimes.hard_stop)
        self._care = ServerCare(orders, state, ledger, settings.downtimes, may_go=self._may_go)
        self._groups = ServerGroups(cloud, state, ledger, settings, may_go=self._may_go)
        self._copying: set[str] = set()  # server ids whose volumes are being copied, or may be
        self._looked_at = 0.0  # loop time
        self._failing_since: float | None = None  # loop time since which no look succeeded
        self._signed_out = False
        self._ending = False
        self._said = False
        self._over = asyncio.Event()

    async def resumed(self) -> None:
        """Take over what an earlier process left: rows that may go because their servers are down."""
        afoot = await self._book.afoot(self._ledger.lease)
        rows = await self._book.rows_of(self._ledger.lease, [server.server_id for server in afoot])
        down = {server.server_id for server in afoot if server.state is ServerState.DOWN}
        free = [row for row in rows if not row.held and down.issuperset(row.server_ids)]
        self._ledger.released(row.job.job_id for row in free)

    async def run(self) -> None:
        """Look after servers until `finish` was called and all are up; the caller may cancel it then."""
        while True:
            self._ledger.held.clear()
            afoot, is_idle = await self._look()
            if self._ending and not self._must_wait(afoot):
                self._say_what_is_left(afoot)
                self._over.set()
                return
            if is_idle:
                await self._ledger.held.wait()
            else:
                interval_s = self._settings.limits.poll_interval_s
                await asyncio.sleep(POLL_S if interval_s is None else interval_s)

    async def glance(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look at the exports once, if servers are down: what has ended meanwhile is to keep none of them."""
        try:
            if await self._book.afoot(self._ledger.lease):
                await look()
        except CloudError as error:
            log.warning("cannot look at the exports (%s)", error)

    async def finish(self) -> None:
        """Stop nothing more, and return when every server that we stopped is up, or is given up."""
        self._ending = True
        self._ledger.held.set()
        await self._over.wait()

    async def _look(self) -> tuple[list[AfootServer], bool]:
        """One look at everything; the servers that are not up then, and whether nothing is to be done."""
        is_idle = False
        try:
            is_idle = await self._step()
            self._failing_since = None
        except SignInError as error:
            self._signed_out = True
            self._ledger.stop(error)
        except CloudError as error:
            self._note_failure(error)
        afoot = await self._book.afoot(self._ledger.lease)
        return afoot, is_idle and not afoot

    async def _step(self) -> bool:
        """Carry on with the servers that are not up, and take the next down. True = no row waits for any."""
        lease = self._ledger.lease
        afoot = await self._book.afoot(lease)
        rows = await self._book.rows_of(lease, [server.server_id for server in afoot]) if afoot else []
        self._say_what_is_waited_for(afoot)
        wanted = self._wanted(rows)
        if afoot and self._is_time_to_look(afoot, rows, wanted):
            hang_on = {server_id for row in rows for server_id in row.server_ids}
            found = await self._groups.found({server.server_id for server in afoot} | hang_on)
            self._looked_at = asyncio.get_running_loop().time()
            await self._care.carry_on(afoot, rows, found, wanted=wanted)
        if self._ledger.force_ignored is not None:
            await self._groups.fail_all(self._ledger.force_ignored)
        if not self._is_closing():
            await self._take_more()
        return not await self._book.next_held(lease, 0, limit=1)

    async def _take_more(self) -> None:
        """Take groups down, in the order of the list, as long as there is room for the next."""
        passed: set[int] = set()
        while True:
            afoot = {server.server_id for server in await self._book.afoot(self._ledger.lease)}
            rows = await self._groups.next(but=passed, afoot=afoot)
            if not rows or not await self._has_room(rows, afoot):
                return
            group = await self._groups.look(rows, afoot=afoot)
            passed.update(row.job.job_id for row in (*rows, *group.rows))
            if not await self._has_room(group.rows, afoot):
                return
            if group.chosen.passing:
                self._groups.put_off(group)
            if not self._is_closing():
                await self._care.take_down(group, afoot=afoot)

    async def _has_room(self, rows: Sequence[LinkedRow], afoot: set[str]) -> bool:
        more = {server_id for row in rows for server_id in row.server_ids} - afoot
        busy = await self._book.rows_of(self._ledger.lease, afoot) if afoot else []
        known = {row.job.job_id for row in busy}
        return moves.is_room(
            len(more),
            sum(row.job.job_id not in known for row in rows),
            servers_down=len(afoot),
            rows_down=len(busy),
            max_down=self._settings.downtimes.max_down,
            max_exports=self._settings.limits.max_exports,
        )

    def _may_go(self, row: LinkedRow) -> bool:
        """Whether the export of a row may begin now, as far as the run is concerned."""
        in_use = row.job.options.in_use or self._settings.in_use
        if self._is_closing() or self._ledger.force_ignored is not None or in_use is not InUse.STOP:
            return False
        most_gib = self._most_gib(self._ledger.now()) if self._most_gib else None
        return most_gib is None or (most_gib > 0 and (row.job.size_gib or 0) <= most_gib)

    def _wanted(self, rows: Sequence[LinkedRow]) -> set[str]:
        """The servers that must be down; notes on the way which have volumes that are being copied."""
        under_way = [row for row in rows if row.state is not JobState.PENDING]
        waited_for = under_way
        if self._settings.wait and not self._ledger.blind:
            waited_for = []
        elif not self._ledger.blind:
            waited_for = [row for row in under_way if row.state is JobState.EXPORTING]
        self._copying = {server_id for row in waited_for for server_id in row.server_ids}
        going = [row for row in rows if row.state is JobState.PENDING and self._may_go(row)]
        return {server_id for row in (*under_way, *going) for server_id in row.server_ids}

    def _is_closing(self) -> bool:
        return self._ending or self._ledger.stopping.is_set()

    def _is_time_to_look(
        self, afoot: Sequence[AfootServer], rows: Sequence[LinkedRow], wanted: Collection[str]
    ) -> bool:
        """Servers that are down and needed so, with nothing to release, are only glanced at."""
        if any(each.state is not ServerState.DOWN or each.server_id not in wanted for each in afoot):
            return True
        if any(row.held and self._may_go(row) for row in rows):
            return True
        return asyncio.get_running_loop().time() - self._looked_at >= GLANCE_S

    def _must_wait(self, afoot: Sequence[AfootServer]) -> bool:
        """Whether one of these is still to be brought up in this run."""
        if self._signed_out or self._is_hopeless():
            return False
        return bool({server.server_id for server in afoot} - self._care.stuck - self._copying)

    def _is_hopeless(self) -> bool:
        if self._failing_since is None:
            return False
        return asyncio.get_running_loop().time() - self._failing_since >= moves.STUCK_AFTER_S

    def _note_failure(self, error: CloudError) -> None:
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
            log.warning("cannot look after the servers (%s); looking again", error)

    def _say_what_is_waited_for(self, afoot: Sequence[AfootServer]) -> None:
        if afoot and self._ledger.stopping.is_set() and not self._said:
            self._said = True
            log.warning(
                "waiting until what was stopped is up again, after the exports of its volumes (servers: %d);"
                " a second Ctrl-C leaves now, and `batchexport resume` or `servers --start` starts them",
                len(afoot),
            )

    def _say_what_is_left(self, afoot: Sequence[AfootServer]) -> None:
        if afoot:
            log.error(
                "not everything that was stopped is up again (servers: %d): `batchexport servers STATE` shows"
                " them, and with --start it starts them; so does `batchexport resume`",
                len(afoot),
            )

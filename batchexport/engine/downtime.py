"""Stopping servers for the export of their volumes, and starting them again, whatever happens.

Every step is in the state file before it is taken, so that whoever comes next knows which servers to start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from batchexport.config import InUse, Settings
from batchexport.engine import server_moves
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud, Servers
from batchexport.engine.server_groups import Group, ServerGroups, refusal
from batchexport.engine.server_moves import Fit, Move, fit_of, named
from batchexport.engine.server_orders import ServerOrders
from batchexport.engine.server_sights import ServerSights
from batchexport.errors import CloudError, SignInError
from batchexport.model import Ending, JobState, Server, ServerState
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
        servers: Servers,
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
        self._orders = ServerOrders(servers, ledger, hard=settings.downtimes.hard_stop)
        self._groups = ServerGroups(cloud, servers, state, ledger, settings, may_go=self._may_go)
        self._sights = ServerSights()
        self._stuck: set[str] = set()  # server ids that do not start: given up in this run
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
        self._note_released(rows, {each.server_id for each in afoot if each.state is ServerState.DOWN})

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
        if afoot and self._is_time_to_look(afoot, rows):
            await self._carry_on(afoot, rows)
        if self._ledger.force_ignored is not None:
            await self._groups.fail_all(self._ledger.force_ignored)
        if not self._is_closing():
            await self._take_more()
        return not await self._book.next_held(lease, 0, limit=1)

    # what is not up --------------------------------------------------------------------------------------

    async def _carry_on(self, afoot: Sequence[AfootServer], rows: Sequence[LinkedRow]) -> None:
        others = {server_id for row in rows for server_id in row.server_ids}
        found = await self._groups.found({server.server_id for server in afoot} | others)
        self._looked_at = asyncio.get_running_loop().time()
        wanted, moves = self._wanted(rows), defaultdict[Move, list[AfootServer]](list)
        for server in afoot:
            sight = self._sights.of(
                server,
                found.get(server.server_id),
                wanted=server.server_id in wanted,
                may_ask=self._orders.may_ask(server.server_id),
            )
            chosen = server_moves.move(server, sight, stop_timeout_s=self._settings.downtimes.stop_timeout_s)
            moves[chosen].append(server)
        for chosen, servers in moves.items():
            await self._make(chosen, servers, rows, found)
        down = {each.server_id for each in afoot if each.state is ServerState.DOWN}
        down -= {each.server_id for each in (*moves[Move.BRING_UP], *moves[Move.NOTE_STARTED])}
        down |= {each.server_id for each in moves[Move.NOTE_DOWN]}
        ours = {server.server_id for server in afoot}
        off = {server_id for server_id in others - ours if fit_of(found.get(server_id)) is Fit.OFF}
        await self._release(rows, down | off)

    async def _make(
        self,
        move: Move,
        servers: Sequence[AfootServer],
        rows: Sequence[LinkedRow],
        found: Mapping[str, Server],
    ) -> None:
        lease, now_s = self._ledger.lease, self._ledger.now()
        server_ids = [server.server_id for server in servers]
        match move:
            case Move.ASK_TO_STOP:
                await self._stop(server_ids, rows)
            case Move.NOTE_DOWN:
                await self._book.down(lease, server_ids, at_s=now_s)
                self._tell(servers, "is down")
            case Move.GIVE_UP:
                self._fail_for(servers, rows, self._why_not_stopped)
                await self._bring_up(server_ids, rows, found)
            case Move.BRING_UP:
                await self._bring_up(server_ids, rows, found)
            case Move.ASK_TO_START:
                await self._orders.start(server_ids)
            case Move.NOTE_UP | Move.NOTE_STARTED | Move.NOTE_GONE:
                await self._note_up(move, servers, rows)
            case Move.STUCK:
                await self._give_up_on(servers)

    async def _bring_up(
        self, server_ids: Collection[str], rows: Sequence[LinkedRow], found: Mapping[str, Server]
    ) -> None:
        """Start those of these that nothing is being copied of; the others when that has ended."""
        started = await self._book.start(self._ledger.lease, server_ids)
        self._recall(rows, started)
        off = [server_id for server_id in started if fit_of(found.get(server_id)) is Fit.OFF]
        await self._orders.start(off)

    async def _note_up(self, move: Move, servers: Sequence[AfootServer], rows: Sequence[LinkedRow]) -> None:
        state = ServerState.GONE if move is Move.NOTE_GONE else ServerState.UP
        server_ids = [server.server_id for server in servers]
        await self._book.up(self._ledger.lease, server_ids, at_s=self._ledger.now(), state=state)
        self._recall(rows, server_ids)
        for server_id in server_ids:
            self._orders.done(server_id)
            self._sights.forget(server_id)
        self._tell(servers, "is up again" if state is ServerState.UP else "is no longer there")
        if move is Move.NOTE_STARTED:
            for server in servers:
                log.warning("server %s was started by somebody else before its export ended", named(server))
            again = await self._book.rows_of(self._ledger.lease, server_ids)
            self._fail_for(servers, again, _why_started)

    async def _give_up_on(self, servers: Sequence[AfootServer]) -> None:
        server_ids = [server.server_id for server in servers]
        await self._orders.start([server_id for server_id in server_ids if self._orders.may_ask(server_id)])
        for server in servers:
            if server.server_id in self._stuck:
                continue
            self._stuck.add(server.server_id)
            words = self._orders.words.get(server.server_id, "the cloud gives no reason")
            await self._book.note(self._ledger.lease, server.server_id, f"does not start: {words}")
            log.error(
                "server %s does not start (%s): start it yourself, or `batchexport servers STATE --start`"
                " when the cloud can",
                named(server),
                words,
            )

    async def _release(self, rows: Sequence[LinkedRow], ready: Collection[str]) -> None:
        """Let those rows go of which every server is down."""
        going = [
            row
            for row in rows
            if row.held and self._may_go(row) and row.server_ids and set(row.server_ids) <= set(ready)
        ]
        if going:
            await self._book.release(self._ledger.lease, [row.job for row in going], at_s=self._ledger.now())
            self._ledger.released(row.job.job_id for row in going)

    # what is next ----------------------------------------------------------------------------------------

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
            await self._take(group, afoot)

    async def _has_room(self, rows: Sequence[LinkedRow], afoot: set[str]) -> bool:
        more = {server_id for row in rows for server_id in row.server_ids} - afoot
        busy = await self._book.rows_of(self._ledger.lease, afoot) if afoot else []
        known = {row.job.job_id for row in busy}
        return server_moves.is_room(
            len(more),
            sum(row.job.job_id not in known for row in rows),
            servers_down=len(afoot),
            rows_down=len(busy),
            max_down=self._settings.downtimes.max_down,
            max_exports=self._settings.limits.max_exports,
        )

    async def _take(self, group: Group, afoot: Collection[str]) -> None:
        chosen = group.chosen
        for row in group.rows:
            if (ending := chosen.failed.get(row.job.job_id)) is not None:
                self._ledger.refused(row.job, JobState.FAILED, ending)
        rows = [row for row in group.rows if row.job.job_id not in chosen.failed]
        if chosen.passing:
            self._groups.put_off(group)
            return
        if chosen.stop and not self._is_closing():
            # On disk before it is asked for: after a crash this means "may have been stopped by us".
            await self._book.stopping(self._ledger.lease, chosen.stop, at_s=self._ledger.now())
            server_ids = [server.server_id for server in chosen.stop]
            for server in chosen.stop:
                self._sights.forget(server.server_id)
                log.warning("stopping server %s for the export of its volumes", named(server))
            await self._stop(server_ids, rows)
        stopping = {server.server_id for server in chosen.stop} | set(afoot)
        await self._release([row for row in rows if stopping.isdisjoint(row.server_ids)], chosen.off)

    async def _stop(self, server_ids: Collection[str], rows: Sequence[LinkedRow]) -> None:
        refused = await self._orders.stop(server_ids)
        for row in rows:
            errors = [refused[server_id] for server_id in row.server_ids if server_id in refused]
            if errors and row.held:
                ending = refusal("its server may not be stopped", errors[0])
                self._ledger.refused(row.job, JobState.FAILED, ending)

    # what is known ---------------------------------------------------------------------------------------

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

    def _is_time_to_look(self, afoot: Sequence[AfootServer], rows: Sequence[LinkedRow]) -> bool:
        """Servers that are down and needed so, with nothing to release, are only glanced at."""
        wanted = self._wanted(rows)
        if any(each.state is not ServerState.DOWN or each.server_id not in wanted for each in afoot):
            return True
        if any(row.held and self._may_go(row) for row in rows):
            return True
        return asyncio.get_running_loop().time() - self._looked_at >= GLANCE_S

    def _must_wait(self, afoot: Sequence[AfootServer]) -> bool:
        """Whether one of these is still to be brought up in this run."""
        if self._signed_out or self._is_hopeless():
            return False
        return bool({server.server_id for server in afoot} - self._stuck - self._copying)

    def _is_hopeless(self) -> bool:
        if self._failing_since is None:
            return False
        return asyncio.get_running_loop().time() - self._failing_since >= server_moves.STUCK_AFTER_S

    def _note_failure(self, error: CloudError) -> None:
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
            log.warning("cannot look after the servers (%s); looking again", error)

    def _note_released(self, rows: Sequence[LinkedRow], down: Collection[str]) -> None:
        free = [row for row in rows if not row.held and set(row.server_ids) <= set(down)]
        self._ledger.released(row.job.job_id for row in free)

    def _recall(self, rows: Sequence[LinkedRow], server_ids: Collection[str]) -> None:
        """These servers are coming up: their rows may no longer be sent as if they were down."""
        self._ledger.on_stopped_servers.difference_update(
            row.job.job_id for row in rows if not set(server_ids).isdisjoint(row.server_ids)
        )

    def _fail_for(
        self,
        servers: Sequence[AfootServer],
        rows: Sequence[LinkedRow],
        why: Callable[[AfootServer], Ending],
    ) -> None:
        """End the rows that wait for any of these."""
        by_id = {server.server_id: server for server in servers}
        for row in rows:
            mine = [by_id[server_id] for server_id in row.server_ids if server_id in by_id]
            if mine and row.held:
                self._ledger.refused(row.job, JobState.FAILED, why(mine[0]))

    def _why_not_stopped(self, server: AfootServer) -> Ending:
        status, words = self._sights.status(server.server_id), self._orders.words.get(server.server_id)
        minutes = self._settings.downtimes.stop_timeout_s / 60
        reason = f"not sent: server {named(server)} did not stop within {minutes:.0f} min, it is {status}"
        reason += f": {words}" if words else "; see --stop-timeout and --hard-stop"
        return Ending(reason=reason, code="server_not_stopped")

    def _tell(self, servers: Sequence[AfootServer], words: str) -> None:
        for server in servers:
            log.warning("server %s %s", named(server), words, extra={"server_id": server.server_id})

    def _say_what_is_waited_for(self, afoot: Sequence[AfootServer]) -> None:
        if afoot and self._ledger.stopping.is_set() and not self._said:
            self._said = True
            log.warning(
                "waiting until %d stopped servers are up again, after the exports of their volumes; a second"
                " Ctrl-C leaves now, and `batchexport resume` or `servers --start` starts them",
                len(afoot),
            )

    def _say_what_is_left(self, afoot: Sequence[AfootServer]) -> None:
        if afoot:
            log.error(
                "%d servers that were stopped are not up: `batchexport servers STATE` shows them, with --start"
                " it starts them, and so does `batchexport resume`",
                len(afoot),
            )


def _why_started(server: AfootServer) -> Ending:
    reason = f"not sent: somebody started server {named(server)} before the export began"
    return Ending(reason=reason, code="server_started")

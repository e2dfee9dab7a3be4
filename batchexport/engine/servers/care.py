"""Taking servers from one state to the next: each step is on disk first, then comes the order."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from batchexport.config import ServerStops
from batchexport.engine.ledger import Ledger
from batchexport.engine.servers import moves
from batchexport.engine.servers.copies import Copies
from batchexport.engine.servers.groups import Group, refusal
from batchexport.engine.servers.moves import Fit, Move, fit_of, named
from batchexport.engine.servers.orders import ServerOrders
from batchexport.engine.servers.sights import ServerSights
from batchexport.log_level import NOTICE
from batchexport.model import Ending, JobState, Server, ServerState
from batchexport.store import AfootServer, LinkedRow, Work

log = logging.getLogger(__name__)


class ServerCare:
    """Stops servers and starts them again, and lets rows go, ends or holds them as that demands."""

    def __init__(
        self,
        orders: ServerOrders,
        work: Work,
        ledger: Ledger,
        settings: ServerStops,
        *,
        copies: Copies,
        may_go: Callable[[LinkedRow], bool],
        command: Callable[..., str],
        anyway: bool = False,
    ) -> None:
        self._orders = orders
        self._command = command  # one that can be pasted, on this state file
        self._copies = copies
        self._anyway = anyway  # start servers under copies as well
        self._book = work.servers
        self._ledger = ledger
        self._settings = settings
        self._may_go = may_go
        self._sights = ServerSights()
        self.stuck: set[str] = set()  #: ids of servers that do not start, and were told of

    def take_over(self, server_ids: Collection[str]) -> None:
        """These were left down by an earlier process."""
        self._sights.take_over(server_ids)

    async def take_down(self, group: Group, *, afoot: Collection[str]) -> None:
        """Stop what the group chose; end its rows that cannot go, and let those go that wait for nothing."""
        chosen = group.chosen
        for row in group.rows:
            if (ending := chosen.failed.get(row.job.job_id)) is not None:
                self._ledger.reject(row.job, JobState.FAILED, ending)
        if chosen.passing:
            return
        rows = [row for row in group.rows if row.job.job_id not in chosen.failed]
        server_ids = {server.server_id for server in chosen.stop}
        if chosen.stop:
            # On disk before it is asked for: after a crash this means "may have been stopped by us".
            await self._book.stopping(chosen.stop, at_s=self._ledger.now())
            for server in chosen.stop:
                self._sights.stopping(server)
                log.log(NOTICE, "stopping server %s for the export of its volumes", named(server))
            await self._stop(server_ids, rows)
        still_up = server_ids | set(afoot)
        await self._release([row for row in rows if still_up.isdisjoint(row.server_ids)], chosen.off)

    async def carry_on(
        self,
        afoot: Sequence[AfootServer],
        rows: Sequence[LinkedRow],
        found: Mapping[str, Server],
        *,
        wanted: Collection[str],
    ) -> None:
        """Do the next thing about each server that is not up; `rows` hang on them, `wanted` must be down."""
        by_move = defaultdict[Move, list[AfootServer]](list)
        for server in afoot:
            by_move[self._move(server, found.get(server.server_id), wanted)].append(server)
        for move, servers in by_move.items():
            await self._make(move, servers, rows, found)
        staying = [
            each
            for each in by_move[Move.WAIT]
            if each.state is ServerState.DOWN and fit_of(found.get(each.server_id)) is not Fit.RUNNING
        ]
        down = {server.server_id for server in (*staying, *by_move[Move.NOTE_DOWN])}
        ours = {server.server_id for server in afoot}
        off = {server_id for server_id, server in found.items() if fit_of(server) is Fit.OFF} - ours
        await self._release(rows, down | off)

    def _move(self, server: AfootServer, seen: Server | None, wanted: Collection[str]) -> Move:
        may_ask = self._orders.may_ask(server.server_id)
        sight = self._sights.of(server, seen, wanted=server.server_id in wanted, may_ask=may_ask)
        return moves.move(server, sight, stop_timeout_s=self._settings.stop_timeout_s)

    async def _make(
        self,
        move: Move,
        servers: Sequence[AfootServer],
        rows: Sequence[LinkedRow],
        found: Mapping[str, Server],
    ) -> None:
        server_ids = [server.server_id for server in servers]
        match move:
            case Move.ASK_TO_STOP:
                await self._stop(server_ids, rows)
            case Move.NOTE_DOWN:
                await self._book.down(server_ids, at_s=self._ledger.now())
                _tell(servers, "is down", level=NOTICE)
            case Move.GIVE_UP:
                self._fail_for(servers, rows, self._why_not_stopped)
                await self._bring_up(server_ids, rows, found)
            case Move.BRING_UP:
                await self._bring_up(server_ids, rows, found)
            case Move.ASK_TO_START:
                await self._orders.start(await self._free(server_ids, found))
            case Move.NOTE_UP | Move.NOTE_GONE:
                await self._note_up(move, servers, rows)
            case Move.NOTE_STARTED:
                _tell(servers, "was started by somebody else before the exports of its volumes ended")
                await self._note_up(move, servers, rows)
                held = await self._book.rows_of(server_ids)
                self._fail_for(servers, held, _why_started)
            case Move.STUCK:
                await self._ask_again(servers, found)

    async def _stop(self, server_ids: Collection[str], rows: Sequence[LinkedRow]) -> None:
        refused = await self._orders.stop(server_ids)
        for row in rows:
            errors = [refused[server_id] for server_id in row.server_ids if server_id in refused]
            if errors and row.held:
                ending = refusal("its server may not be stopped", errors[0])
                self._ledger.reject(row.job, JobState.FAILED, ending)

    async def _bring_up(
        self, server_ids: Collection[str], rows: Sequence[LinkedRow], found: Mapping[str, Server]
    ) -> None:
        """Start those of these that nothing is being copied of; the others when that has ended."""
        free = await self._free(server_ids, found)
        started = await self._book.start(free, anyway=self._anyway)
        self._recall(rows, started)
        if self._anyway:
            self._disturb(rows, started)
        # One that cannot be seen is asked all the same: to start what runs does nothing.
        off = [each for each in started if fit_of(found.get(each)) in (Fit.OFF, Fit.UNSEEN)]
        await self._orders.start(off)

    async def _free(self, server_ids: Collection[str], found: Mapping[str, Server]) -> list[str]:
        return list(server_ids) if self._anyway else await self._copies.free(list(server_ids), found)

    def _disturb(self, rows: Sequence[LinkedRow], server_ids: Collection[str]) -> None:
        """These are started although volumes of theirs are being copied."""
        for row in rows:
            if row.state is not JobState.PENDING:
                for server_id in set(row.server_ids) & set(server_ids):
                    self._ledger.disturbed.setdefault(row.job.job_id, server_id)

    async def _note_up(self, move: Move, servers: Sequence[AfootServer], rows: Sequence[LinkedRow]) -> None:
        state = ServerState.GONE if move is Move.NOTE_GONE else ServerState.UP
        server_ids = [server.server_id for server in servers]
        await self._book.up(server_ids, at_s=self._ledger.now(), state=state)
        self._recall(rows, server_ids)
        self.stuck.difference_update(server_ids)
        for server_id in server_ids:
            self._orders.done(server_id)
            self._sights.forget(server_id)
            self._copies.forget(server_id)
        if state is ServerState.UP:
            _tell(servers, "is up again", level=NOTICE)
        else:
            _tell(servers, "is no longer there")

    async def _ask_again(self, servers: Sequence[AfootServer], found: Mapping[str, Server]) -> None:
        """Go on asking these to start, and say once that it has been in vain for long.

        Before it is said each is asked once more, whatever the cloud asked to wait for.
        """
        due = [
            server.server_id
            for server in servers
            if self._orders.may_ask(server.server_id) or server.server_id not in self.stuck
        ]
        await self._orders.start(await self._free(due, found))
        for server in servers:
            if server.server_id in self.stuck:
                continue
            self.stuck.add(server.server_id)
            words = self._orders.words.get(server.server_id, "the cloud gives no reason")
            await self._book.note(server.server_id, f"does not start: {words}")
            start = self._command("servers", options=" --start")
            hint = f"start it yourself, or with `{start}` when the cloud can"
            log.error("server %s does not start (%s): %s", named(server), words, hint)

    async def _release(self, rows: Sequence[LinkedRow], ready: Collection[str]) -> None:
        """Let those rows go of which every server is down."""
        waiting = [row for row in rows if row.held and row.server_ids and self._may_go(row)]
        going = [row.job for row in waiting if set(row.server_ids) <= set(ready)]
        if going:
            await self._book.release(going, at_s=self._ledger.now())
            self._ledger.release(job.job_id for job in going)

    def _recall(self, rows: Sequence[LinkedRow], server_ids: Collection[str]) -> None:
        """These servers are coming up: their rows may no longer be sent as if they were down."""
        self._ledger.servers_down.difference_update(
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
                self._ledger.reject(row.job, JobState.FAILED, why(mine[0]))

    def _why_not_stopped(self, server: AfootServer) -> Ending:
        status, words = self._sights.status(server.server_id), self._orders.words.get(server.server_id)
        minutes = self._settings.stop_timeout_s / 60
        reason = f"not sent: server {named(server)} did not stop within {minutes:.0f} min, it is {status}"
        reason += f": {words}" if words else "; see --stop-timeout and --hard-stop"
        return Ending(reason=reason, code="server_not_stopped")


def _why_started(server: AfootServer) -> Ending:
    reason = f"not sent: somebody started server {named(server)} before the export began"
    return Ending(reason=reason, code="server_started")


def _tell(servers: Sequence[AfootServer], words: str, *, level: int = logging.WARNING) -> None:
    for server in servers:
        log.log(level, "server %s %s", named(server), words, extra={"server_id": server.server_id})

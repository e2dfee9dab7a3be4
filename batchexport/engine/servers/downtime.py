"""Stopping servers for the export of their volumes, and starting them again, whatever happens.

Every step is in the state file before it is taken, so that whoever comes next knows which servers to start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from batchexport.config import InUse, Settings
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud, cloud_name
from batchexport.engine.servers import moves
from batchexport.engine.servers.care import ServerCare
from batchexport.engine.servers.copies import Copies
from batchexport.engine.servers.groups import ServerGroups
from batchexport.engine.servers.orders import ServerOrders
from batchexport.engine.servers.witness import Witness
from batchexport.errors import CloudError, SignInError
from batchexport.model import Job, JobState, ServerState
from batchexport.shell_command import on_state_file
from batchexport.store import AfootServer, LinkedRow, Work

log = logging.getLogger(__name__)

#: Between two looks, where no other interval was asked for.
POLL_S = 5.0
#: How often a run that waits for servers says for what.
SAY_EVERY_S = 600.0
#: How long servers mostly take to start.
START_S = 60.0
#: The target stops when its sign-in was refused so often within so many seconds; one refusal may be a slip.
SIGN_INS_REFUSED, WITHIN_S = 3, 600.0
#: Servers are asked to start for so long after the compute service began to refuse every sign-in.
SIGN_IN_PATIENCE_S = 300.0


class Downtime:
    """Takes servers down for the rows of one target that wait for it, and brings every one up again."""

    def __init__(
        self,
        cloud: Cloud,
        work: Work,
        ledger: Ledger,
        settings: Settings,
        *,
        max_gib_at: Callable[[float], int] | None = None,
        anyway: bool = False,
    ) -> None:
        self._command = partial(on_state_file, state_path=work.path, cloud=cloud_name(cloud))
        self._book = work.servers
        self._ledger = ledger
        self._settings = settings
        self._max_gib_at = max_gib_at
        self._anyway = anyway
        orders = ServerOrders(cloud, ledger, hard=settings.server_stops.hard_stop)
        self._copies = Copies(cloud, work, ledger)
        self._care = ServerCare(
            orders,
            work,
            ledger,
            settings.server_stops,
            copies=self._copies,
            may_go=self._may_go,
            anyway=anyway,
            command=self._command,
        )
        self._groups = ServerGroups(cloud, work, ledger, settings, may_go=self._may_go)
        self._witness = Witness(cloud, work, ledger, settings)
        self._waited_for: dict[str, Job] = {}  # by server id: an export that is being made, or may be
        self._copying: dict[str, Job] = {}  # the same, where this run does not wait for the export to end
        self._failing_since: float | None = None  # loop time since which no look succeeded
        self._refused_at: deque[float] = deque(maxlen=SIGN_INS_REFUSED)  # loop times of refused sign-ins
        self._signed_out = False  # by the latest look
        self._glance: Callable[[], Awaitable[None]] | None = None
        self._glanced_at: set[str] = set()  # image ids
        self._ending = False
        self._say_at: float | None = None  # loop time
        self._over = asyncio.Event()

    async def resumed(self) -> None:
        """Take over what an earlier process left: rows that may go because their servers are down."""
        afoot = await self._book.afoot()
        rows = await self._book.rows_of([server.server_id for server in afoot])
        down = {server.server_id for server in afoot if server.state is ServerState.DOWN}
        self._care.take_over(down)
        free = [row for row in rows if not row.held and down.issuperset(row.server_ids)]
        self._ledger.release(row.job.job_id for row in free)
        self._ledger.forced.update(row.job.job_id for row in await self._book.under_way())
        self._ledger.disturbed.update(await self._book.disturbed())

    async def run(self) -> None:
        """Look after servers until `finish` was called and all are up; the caller may cancel it then."""
        while True:
            self._ledger.held.clear()
            is_last = self._ending  # a look that began before tells nothing of what ended since
            afoot, is_idle = await self._look()
            if is_last and not self._must_wait(afoot) and not await self._glance_again(afoot):
                self._say_what_is_left(afoot)
                self._over.set()
                return
            if is_idle:
                await self._ledger.held.wait()
            else:
                interval_s = self._settings.limits.poll_interval_s
                await self._pause(POLL_S if interval_s is None else interval_s)

    async def _pause(self, seconds: float) -> None:
        """Wait for so long, or until an export of a volume of servers has ended."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ledger.confirmable.wait(), seconds)

    async def glance(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look at the exports once, if servers are down: what has ended meanwhile is to keep none of them.

        Those that turn out to have begun, of requests that were in doubt, are looked at once as well.
        """
        self._glance = look
        if not self._ledger.exporting or not await self._book.afoot():
            return
        self._glanced_at.update(self._ledger.exporting)
        try:
            await look()
        except CloudError as error:
            log.warning("cannot look at the exports (%s)", error)

    async def _glance_again(self, afoot: Sequence[AfootServer]) -> bool:
        """Look at exports that no glance saw, if there are any."""
        if self._glance is None or not afoot or self._glanced_at.issuperset(self._ledger.exporting):
            return False
        await self.glance(self._glance)
        return True

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
            self._note_refused(error)
        except CloudError as error:
            self._note_failure(error)
        afoot = await self._book.afoot()
        return afoot, is_idle and not afoot

    async def _step(self) -> bool:
        """Carry on with the servers that are not up, and take the next down. True = nothing hangs on any."""
        await self._witness.confirm(await self._book.under_way())
        afoot = await self._book.afoot()
        rows = await self._book.rows_of([server.server_id for server in afoot]) if afoot else []
        known = {row.job.job_id for row in rows}
        rows += [row for row in await self._book.under_way() if row.job.job_id not in known]
        wanted = self._wanted(rows)
        self._say_what_is_waited_for(afoot)
        if afoot or rows:
            ours = {server.server_id for server in afoot}
            found = await self._groups.found(ours.union(*(row.server_ids for row in rows)))
            found = await self._witness.second_look(found, afoot, rows)
            await self._witness.watch(rows, found, ours=ours)
            await self._care.carry_on(afoot, rows, found, wanted=wanted)
        if self._ledger.force_ignored is not None:
            await self._groups.fail_all(self._ledger.force_ignored)
        if not self._is_closing():
            await self._take_more()
        return not rows and not await self._book.next_held(0, limit=1)

    async def _take_more(self) -> None:
        """Take groups down, in the order of the list, as long as there is room for the next."""
        passed: set[int] = set()
        while True:
            afoot = {server.server_id for server in await self._book.afoot()}
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
        busy = await self._book.rows_of(afoot) if afoot else []
        known = {row.job.job_id for row in busy}
        return moves.is_room(
            len(more),
            sum(row.job.job_id not in known for row in rows),
            servers_down=len(afoot),
            rows_down=len(busy),
            max_down=self._settings.server_stops.max_down,
            max_exports=self._settings.limits.max_exports,
        )

    def _may_go(self, row: LinkedRow) -> bool:
        """Whether the export of a row may begin now, as far as the run is concerned."""
        in_use = row.job.options.in_use or self._settings.in_use
        if self._is_closing() or self._ledger.force_ignored is not None or in_use is not InUse.STOP:
            return False
        max_gib = self._max_gib_at(self._ledger.now()) if self._max_gib_at else None
        return max_gib is None or (max_gib > 0 and (row.job.size_gib or 0) <= max_gib)

    def _wanted(self, rows: Sequence[LinkedRow]) -> set[str]:
        """The servers that must be down; notes on the way which have volumes that are being copied."""
        under_way = [] if self._anyway else [row for row in rows if row.state is not JobState.PENDING]
        left_alone = under_way
        if self._settings.wait and not self._ledger.polling_unavailable:
            left_alone = []
        elif not self._ledger.polling_unavailable:
            left_alone = [row for row in under_way if row.state is JobState.EXPORTING]
        self._copying = _longest(left_alone)
        self._waited_for = _longest(under_way)
        going = [row for row in rows if row.state is JobState.PENDING and self._may_go(row)]
        return {server_id for row in (*under_way, *going) for server_id in row.server_ids}

    def _is_closing(self) -> bool:
        return self._ending or self._ledger.stopping.is_set()

    def _must_wait(self, afoot: Sequence[AfootServer]) -> bool:
        """Whether one of these is still to be brought up in this run, or a row to be ended."""
        if self._is_hopeless():
            return False
        left_down = self._care.stuck | self._copying.keys()
        if not self._settings.wait:
            left_down |= self._copies.busy.keys()
        left = {server.server_id for server in afoot} - left_down
        return bool(left or self._ledger.to_confirm)

    def _is_hopeless(self) -> bool:
        if self._failing_since is None:
            return False
        patience_s = SIGN_IN_PATIENCE_S if self._signed_out else moves.STUCK_AFTER_S
        return asyncio.get_running_loop().time() - self._failing_since >= patience_s

    def _note_failure(self, error: CloudError) -> None:
        self._signed_out = isinstance(error, SignInError)
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
            log.warning("cannot look after the servers (%s); looking again", error)

    def _note_refused(self, error: SignInError) -> None:
        """One refused sign-in may be a slip of the cloud; several end the run, once servers are up."""
        self._note_failure(error)
        loop_now = asyncio.get_running_loop().time()
        self._refused_at.append(loop_now)
        if len(self._refused_at) == SIGN_INS_REFUSED and loop_now - self._refused_at[0] <= WITHIN_S:
            self._ledger.stop(error)

    def _say_what_is_waited_for(self, afoot: Sequence[AfootServer]) -> None:
        if not afoot or not self._ledger.stopping.is_set():
            return
        loop_now = asyncio.get_running_loop().time()
        if self._say_at is None:  # what only brings servers up, which takes seconds, says nothing at first
            self._say_at = loop_now + (0.0 if self._settings.wait else START_S)
        if loop_now < self._say_at:
            return
        self._say_at = loop_now + SAY_EVERY_S
        log.warning("bringing up what was stopped: %s", "; ".join(map(self._why_down, afoot)))
        log.warning(
            "a second Ctrl-C leaves now; then `%s` or `%s` starts them",
            self._command("resume"),
            self._command("servers", options=" --start"),
        )

    def _say_what_is_left(self, afoot: Sequence[AfootServer]) -> None:
        if not afoot:
            return
        log.error("not everything that was stopped is up again: %s", "; ".join(map(self._why_down, afoot)))
        is_copied = any(server.server_id in self._waited_for for server in afoot)
        anyway = self._command("servers", options=" --start --anyway")
        after = f" after the exports; `{anyway}` starts them now, under the exports" if is_copied else ""
        free = self._command("servers", options=" --start")
        log.error("`%s` starts them%s; `%s` starts what is free", self._command("resume"), after, free)

    def _why_down(self, server: AfootServer) -> str:
        """The server, and what keeps it down."""
        words = f"server {moves.named(server)}"
        if (job := self._waited_for.get(server.server_id)) is not None:
            until = "" if job.deadline_at is None else f", expected to end by {_utc(job.deadline_at)}"
            return f"{words}: volume {job.volume_id} is being exported{until}"
        if (busy := self._copies.busy.get(server.server_id)) is not None:
            return f"{words}: {busy}"
        return f"{words} is {server.state}"


def _longest(rows: Sequence[LinkedRow]) -> dict[str, Job]:
    """By server id, the export that is expected to take longest."""
    by_deadline = sorted(rows, key=lambda row: row.job.deadline_at or 0.0)
    return {server_id: row.job for row in by_deadline for server_id in row.server_ids}


def _utc(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"

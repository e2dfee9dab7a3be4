"""Looks whether the servers of a volume are off: before it is sent with force, during the copy, after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto
from typing import assert_never

from msgspec.structs import replace

from batchexport.config import Settings
from batchexport.engine.decide import ending_of
from batchexport.engine.ledger import Ledger
from batchexport.engine.polling import is_signed_out
from batchexport.engine.ports import Cloud
from batchexport.engine.servers.moves import Fit, fit_of, named
from batchexport.errors import CloudError
from batchexport.model import Ending, ExportRequest, Job, JobState, Server, ServerState
from batchexport.store import AfootServer, LinkedRow, Work

log = logging.getLogger(__name__)

#: Of servers that cannot be looked at after a copy for so long, it is said that nobody knows.
CONFIRM_WITHIN_S = 600.0
#: Between two tries to look at servers before an export.
LOOK_AGAIN_S = 15.0
#: The codes of rows whose image may not be what a server that is off leaves behind.
SERVER_RAN, SERVER_UNSEEN = "server_ran", "server_unseen"


class Clearance(Enum):
    """Whether a volume may be sent now with force."""

    GO = auto()  #: all its servers are off
    UNFORCED = (
        auto()
    )  #: nothing is known of its servers: without force the cloud refuses it while they matter
    NOT_IN_USE = auto()  #: it may go, and needs no force
    HOLD = auto()  #: a server is not off: it has to wait again


class Witness:
    """Looks at servers by their ids for the rows of one target that go only while these are off."""

    def __init__(self, cloud: Cloud, work: Work, ledger: Ledger, settings: Settings) -> None:
        self._patience_s = settings.server_stops.stop_timeout_s
        self._cloud = cloud
        self._book = work.servers
        self._ledger = ledger
        self._unseen_since: dict[int, float] = {}  # job id -> loop time

    async def cleared(self, job: Job, request: ExportRequest) -> ExportRequest | None:
        """What to send now for a volume whose servers were off when they were last looked at.

        None = nothing: it goes back to wait, or it failed because its servers could not be looked at for
        too long. Raises SignInError where the identity service refuses to sign in.
        """
        try:
            clearance = await self._clearance(job)
        except CloudError as error:
            if is_signed_out(error):
                raise
            self._put_off(job, error)
            return None
        self._unseen_since.pop(job.job_id, None)
        match clearance:
            case Clearance.GO:
                return request
            case Clearance.UNFORCED:
                return replace(request, options=replace(request.options, force=False))
            case Clearance.NOT_IN_USE:
                self._ledger.detach(job)
                await self._book.link(job, ())
                return replace(request, options=replace(request.options, force=False))
            case Clearance.HOLD:
                self._ledger.servers_down.discard(job.job_id)
                self._ledger.hold_unsent(job)
                return None
        assert_never(clearance)

    def _put_off(self, job: Job, error: CloudError) -> None:
        loop_now = asyncio.get_running_loop().time()
        since = self._unseen_since.setdefault(job.job_id, loop_now)
        if loop_now - since < self._patience_s:
            self._ledger.snooze(job, None, after_s=LOOK_AGAIN_S)
            return
        self._unseen_since.pop(job.job_id, None)
        ending = ending_of(error, "not sent: whether its servers are off cannot be seen")
        self._ledger.finish(job, JobState.FAILED, replace(ending, code=SERVER_UNSEEN))

    async def _clearance(self, job: Job) -> Clearance:
        volume = await self._cloud.block_storage.get_volume(job.volume_id)
        if volume is not None and volume.status == "available":
            return Clearance.NOT_IN_USE
        if volume is None or volume.status != "in-use":
            return Clearance.UNFORCED  # the cloud will say what is wrong
        servers = await self._look(volume.server_ids)
        if servers and all(fit_of(server) is Fit.OFF for server in servers):
            return Clearance.GO
        up = ", ".join(named(server) for server in servers if fit_of(server) is not Fit.OFF)
        log.warning("volume %s waits again, its servers are not all off: %s", job.volume_id, up or "unknown")
        await self._book.link(job, volume.server_ids)
        return Clearance.HOLD

    async def second_look(
        self, found: Mapping[str, Server], afoot: Sequence[AfootServer], rows: Sequence[LinkedRow]
    ) -> dict[str, Server]:
        """What was found, with servers that run, and should not or were to start, read again by their ids.

        A list may be behind, and what is concluded from a server that runs cannot be undone.
        """
        to_be_off = {
            server_id for row in rows if row.state is not JobState.PENDING for server_id in row.server_ids
        }
        to_be_off |= {server.server_id for server in afoot if server.state is not ServerState.STOPPING}
        sure = dict(found)
        for server_id in to_be_off & found.keys():
            if not _is_running(found[server_id]):
                continue
            try:
                sure[server_id] = await self._cloud.compute.get_server(server_id)
            except CloudError as error:
                log.debug("server %s is listed as running and cannot be read: %s", server_id, error)
                del sure[server_id]
        return sure

    async def watch(
        self, rows: Sequence[LinkedRow], found: Mapping[str, Server], *, ours: Collection[str]
    ) -> None:
        """Note which of these rows are being copied from a server that runs, after whoever started it.

        `ours` are the servers that are ours to start: that they run is noted elsewhere.
        """
        strangers: set[str] = set()
        for row in rows:
            if row.state is JobState.PENDING or row.job.job_id in self._ledger.sending:
                continue
            running = [found[server_id] for server_id in row.server_ids if _is_running(found.get(server_id))]
            if not running:
                continue
            self._disturb(row.job, running[0])
            strangers.update(server.server_id for server in running if server.server_id not in ours)
        if strangers:
            await self._book.runs(strangers, at_s=self._ledger.now())

    async def confirm(self, rows: Sequence[LinkedRow]) -> None:
        """Look once more at the servers of rows whose image is there, and end these rows."""
        self._ledger.confirmable.clear()
        server_ids = {row.job.job_id: row.server_ids for row in rows}
        for job_id, (job, ending) in list(self._ledger.to_confirm.items()):
            await self._confirm(job, ending, server_ids.get(job_id, ()))

    async def _confirm(self, job: Job, ending: Ending, server_ids: Sequence[str]) -> None:
        if job.job_id not in self._ledger.disturbed:
            try:
                servers = await self._look(server_ids)
            except CloudError as error:
                self._unseen(job, ending, error)
                return
            for server in servers:
                if _is_running(server):
                    self._disturb(job, server)
        self._unseen_since.pop(job.job_id, None)
        if job.job_id not in self._ledger.to_confirm:
            return  # it came to another end meanwhile
        if (server_name := self._ledger.disturbed.get(job.job_id)) is not None:
            words = (
                f"server {server_name} ran before the export was seen to have ended: the image may hold the"
                " disk of a running server"
            )
            ending = _noting(ending, words, SERVER_RAN)
        self._ledger.confirm(job.job_id, ending)

    def _unseen(self, job: Job, ending: Ending, error: CloudError) -> None:
        loop_now = asyncio.get_running_loop().time()
        since = self._unseen_since.setdefault(job.job_id, loop_now)
        if loop_now - since >= CONFIRM_WITHIN_S and job.job_id in self._ledger.to_confirm:
            words = f"whether its servers stayed off cannot be seen: {error}"
            self._ledger.confirm(job.job_id, _noting(ending, words, SERVER_UNSEEN))
        elif loop_now == since:
            log.warning("volume %s: its servers cannot be looked at (%s); again later", job.volume_id, error)

    def _disturb(self, job: Job, server: Server) -> None:
        if job.job_id not in self._ledger.disturbed:
            self._ledger.disturbed[job.job_id] = named(server)
            log.warning("volume %s is copied while server %s runs", job.volume_id, named(server))

    async def _look(self, server_ids: Sequence[str]) -> list[Server]:
        return [await self._cloud.compute.get_server(server_id) for server_id in server_ids]


def _is_running(server: Server | None) -> bool:
    """Whether it is known that the server runs, is about to, or did since it was off."""
    return server is not None and fit_of(server) not in (Fit.OFF, Fit.MISSING, Fit.UNSEEN)


def _noting(ending: Ending, words: str, code: str) -> Ending:
    reason = f"{ending.reason}, but {words}" if ending.code is None else f"{ending.reason}; {words}"
    return replace(ending, reason=reason, code=ending.code or code)

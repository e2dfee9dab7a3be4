"""Checks that the servers of a volume are off: before it is sent with force, while it is copied, after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto
from typing import assert_never

from msgspec.structs import replace

from batchexport.config import Settings
from batchexport.engine.decide import ending_of
from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.polling import is_signed_out
from batchexport.engine.ports import Cloud
from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.resources.lifecycle import Condition
from batchexport.engine.steps.server_eligibility import condition_of, is_running, named
from batchexport.errors import CloudError
from batchexport.model import Ending, ExportRequest, Job, JobState, ResourceState, Server
from batchexport.store import JobWithResources, Resource

log = logging.getLogger(__name__)

#: Where servers cannot be read for this long after a copy, the row says that nothing is known of them.
CONFIRM_WITHIN_S = 600.0
#: Between two tries to read servers before an export.
LOOK_AGAIN_S = 15.0
#: Codes of rows whose image may not be what a server leaves behind that is off.
SERVER_RAN, SERVER_UNSEEN = "server_ran", "server_unseen"


class Clearance(Enum):
    """Whether a volume may be sent now with force."""

    GO = auto()  #: all its servers are off
    UNFORCED = auto()  #: its servers are unknown: without force the cloud refuses it while they matter
    NOT_IN_USE = auto()  #: it may go, and needs no force
    HOLD = auto()  #: a server is not off: it waits again


class Witness:
    """Reads servers by their ids for the jobs of one target that are exported only while these are off."""

    def __init__(self, cloud: Cloud, book: ResourceBook, ledger: Ledger, settings: Settings) -> None:
        self._patience_s = settings.server_stops.stop_timeout_s
        self._cloud = cloud
        self._book = book
        self._ledger = ledger
        self._unseen_since: dict[int, float] = {}  # job id -> loop time, before its export
        self._unconfirmed_since: dict[int, float] = {}  # job id -> loop time, after its export

    async def cleared(self, job: Job, request: ExportRequest) -> ExportRequest | None:
        """What to send now for a volume whose servers were off when last seen.

        None = nothing: the job waits again, or failed because its servers could not be read for too long.
        Raises AuthenticationError where the identity service refuses to sign in.
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
                await self._book.needs(job, ())
                return replace(request, options=replace(request.options, force=False))
            case Clearance.HOLD:
                self._ledger.resources_held.discard(job.job_id)
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
        ending = ending_of(error, "not sent: cannot check that its servers are off")
        self._ledger.finish(job, JobState.FAILED, replace(ending, code=SERVER_UNSEEN))

    async def _clearance(self, job: Job) -> Clearance:
        volume = await self._cloud.block_storage.get_volume(job.volume_id)
        if volume is not None and volume.status == "available":
            return Clearance.NOT_IN_USE
        if volume is None or volume.status != "in-use":
            return Clearance.UNFORCED  # the cloud will say what is wrong
        servers = await self._read(volume.server_ids)
        if servers and all(condition_of(server) is Condition.HELD for server in servers):
            return Clearance.GO
        up = ", ".join(named(server) for server in servers if condition_of(server) is not Condition.HELD)
        extra = log_fields("servers_not_off", job)
        log.warning(
            "volume %s waits again, its servers are not all off: %s",
            job.volume_id,
            up or "unknown",
            extra=extra,
        )
        await self._book.needs(job, volume.server_ids)
        return Clearance.HOLD

    async def second_look(
        self, found: Mapping[str, Server], outstanding: Sequence[Resource], rows: Sequence[JobWithResources]
    ) -> dict[str, Server]:
        """What was found, but servers that run, and should not or were to start, are read again by their ids.

        A list may be behind, and what follows from a server that runs cannot be undone.
        """
        to_be_off = {
            server_id for row in rows if row.state is not JobState.PENDING for server_id in row.needs
        }
        to_be_off |= {each.resource_id for each in outstanding if each.state is not ResourceState.ACQUIRING}
        sure = dict(found)
        for server_id in to_be_off & found.keys():
            if not is_running(found[server_id]):
                continue
            try:
                sure[server_id] = await self._cloud.compute.get_server(server_id)
            except CloudError as error:
                extra = {"action": "server_unreadable", "server_id": server_id}
                log.debug(
                    "server %s is listed as running and cannot be read: %s", server_id, error, extra=extra
                )
                del sure[server_id]
        return sure

    async def watch(
        self, rows: Sequence[JobWithResources], found: Mapping[str, Server], *, ours: Collection[str]
    ) -> None:
        """Note which of these jobs are being copied from a server that runs.

        `ours`: the servers that are ours to start; that they run is noted elsewhere.
        """
        others: set[str] = set()
        for row in rows:
            if row.state is JobState.PENDING or row.job.job_id in self._ledger.sending:
                continue
            running = [found[server_id] for server_id in row.needs if is_running(found.get(server_id))]
            if not running:
                continue
            self._disturb(row.job, running[0])
            others.update(server.server_id for server in running if server.server_id not in ours)
        if others:
            await self._book.seen_free(others, at_s=self._ledger.now())

    async def confirm(self, rows: Sequence[JobWithResources]) -> None:
        """Read the servers of jobs whose image is complete once more, and end these jobs."""
        self._ledger.confirmable.clear()
        server_ids = {row.job.job_id: row.needs for row in rows}
        for job_id, (job, ending) in list(self._ledger.to_confirm.items()):
            await self._confirm(job, ending, server_ids.get(job_id, ()))

    async def _confirm(self, job: Job, ending: Ending, server_ids: Sequence[str]) -> None:
        if job.job_id not in self._ledger.disturbed:
            try:
                servers = await self._read(server_ids)
            except CloudError as error:
                self._unseen(job, ending, error)
                return
            for server in servers:
                if is_running(server):
                    self._disturb(job, server)
        self._unconfirmed_since.pop(job.job_id, None)
        if job.job_id not in self._ledger.to_confirm:
            return  # it came to another end meanwhile
        if (server_name := self._ledger.disturbed.get(job.job_id)) is not None:
            note = (
                f"server {server_name} ran before the export was seen to have ended: the image may hold the"
                " disk of a running server"
            )
            ending = _noting(ending, note, SERVER_RAN)
        self._ledger.confirm(job.job_id, ending)

    def _unseen(self, job: Job, ending: Ending, error: CloudError) -> None:
        loop_now = asyncio.get_running_loop().time()
        since = self._unconfirmed_since.setdefault(job.job_id, loop_now)
        if loop_now - since >= CONFIRM_WITHIN_S and job.job_id in self._ledger.to_confirm:
            note = f"cannot check that its servers stayed off: {error}"
            self._ledger.confirm(job.job_id, _noting(ending, note, SERVER_UNSEEN))
        elif loop_now == since:
            extra = log_fields("servers_unreadable", job)
            log.warning(
                "volume %s: cannot read its servers (%s); trying again", job.volume_id, error, extra=extra
            )

    def _disturb(self, job: Job, server: Server) -> None:
        if job.job_id not in self._ledger.disturbed:
            self._ledger.disturbed[job.job_id] = named(server)
            extra = log_fields("server_ran", job, server_id=server.server_id)
            log.warning("volume %s is copied while server %s runs", job.volume_id, named(server), extra=extra)

    async def _read(self, server_ids: Sequence[str]) -> list[Server]:
        return [await self._cloud.compute.get_server(server_id) for server_id in server_ids]


def _noting(ending: Ending, note: str, code: str) -> Ending:
    reason = f"{ending.reason}, but {note}" if ending.code is None else f"{ending.reason}; {note}"
    return replace(ending, reason=reason, code=ending.code or code)

"""Servers that are stopped for the export of their volumes: a kind of resource, held while they are off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial

from msgspec.structs import replace

from batchexport.changes import Planned
from batchexport.config import InUse, Settings
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud, Fence, cloud_name
from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.resources.groups import not_sent
from batchexport.engine.resources.kind import Messages, ResourceKind, Selection
from batchexport.engine.resources.lifecycle import Condition, Limits, Seen
from batchexport.engine.steps.server_copies import Copies
from batchexport.engine.steps.server_eligibility import condition_of, seen_of, select
from batchexport.engine.steps.server_witness import Witness
from batchexport.errors import AuthenticationError, CloudError, RefusedError
from batchexport.model import (
    Ending,
    ExportRequest,
    Job,
    ResourceRef,
    ResourceState,
    ResourceType,
    Server,
    Volume,
)
from batchexport.plan.row_checks import Finding, stops_servers
from batchexport.shell_command import on_state_file
from batchexport.store import Elsewhere, JobWithResources, Resource, Work

log = logging.getLogger(__name__)

#: A server that was asked to stop and not seen off may still obey: it counts as up when it ran for this long
#: since it was given up. A guest that is asked to shut down is given a minute by default.
STABLE_FOR_S = 90.0
#: A server that was off and is seen running may be seen so by a replica that lags or by a cache. Unless its
#: record is newer than its downtime, it counts as up when every poll saw it running for this long.
UP_AFTER_S = 30.0
#: By no more than this replicas and caches lag. A server that was started again so long after it was first
#: seen off counts as up when every poll saw it running for half of it.
LAG_S = 20.0
#: A server is gone when the compute service answered so for this long, asked for it by its id.
GONE_AFTER_S = 60.0
#: A server that does not start for this long needs a person.
STUCK_AFTER_S = 3600.0
#: How long jobs wait for a server that another run has stopped: copies of large volumes take hours.
ELSEWHERE_S = 4 * 3600.0
#: Between two polls.
POLL_S = 5.0
#: Between two reads of other state files, for there may be many.
FILES_EVERY_S = 5.0


class StopServer(ResourceKind):
    """Stops servers, and starts them again. Both may be repeated: what is done already is refused."""

    poll_s = POLL_S
    stuck_s = STUCK_AFTER_S
    is_created = False
    confirms = True

    def __init__(
        self,
        cloud: Cloud,
        work: Work,
        ledger: Ledger,
        settings: Settings,
        *,
        own_volumes: frozenset[str] | None = None,
    ) -> None:
        """`own_volumes`: those that our jobs export; None = ask the store."""
        stops = settings.server_stops
        command = partial(on_state_file, state_path=work.path, cloud=cloud_name(cloud))
        self.messages = _messages(
            resume=command("resume"),
            start=command("servers", options=" --start"),
            start_anyway=command("servers", options=" --start --anyway"),
        )
        self._limits = Limits(
            acquire_s=stops.stop_timeout_s,
            absent_s=GONE_AFTER_S,
            free_s=UP_AFTER_S,
            stable_s=STABLE_FOR_S,
            lag_s=LAG_S,
            stuck_s=STUCK_AFTER_S,
        )
        self._max_down = stops.max_down
        self._cloud = cloud
        self._work = work
        self._settings = settings
        self.book = self._book = ResourceBook(work, (ResourceType.SERVER,))
        self._ledger = ledger
        self._policy = settings.in_use
        self._stop_timeout_s = stops.stop_timeout_s
        self._hard = stops.hard_stop
        self._own_volumes = own_volumes
        self._found: Mapping[str, Server] = {}  # by the latest poll
        #: (Server id, whether the compute service says that there is none) -> loop time.
        self._changing_since: dict[tuple[str, bool], float] = {}
        self._elsewhere: dict[str, Elsewhere] = {}  # by server id
        self._files_at = 0.0  # loop time at which other state files are read again
        self._elsewhere_since: dict[str, float] = {}  # server id -> loop time

    # Made when they are first needed: most runs stop no server.

    @cached_property
    def _copies(self) -> Copies:
        return Copies(self._cloud, self._book, own=self._own_volumes)

    @cached_property
    def _witness(self) -> Witness:
        return Witness(self._cloud, self._book, self._ledger, self._settings)

    @property
    def busy(self) -> Mapping[str, str]:
        """Why servers cannot be started yet, by id."""
        return self._copies.busy

    def limits(self, resource: Resource) -> Limits:
        """The same for every server."""
        return self._limits

    def has_room(self, rows: Sequence[JobWithResources], *, outstanding: Sequence[Resource]) -> bool:
        """Whether so many more may be down."""
        down = {resource.resource_id for resource in outstanding}
        more = {server_id for row in rows for server_id in row.needs} - down
        return may_go_down(len(more), down=len(down), max_down=self._max_down)

    def is_needed_by(self, job: Job) -> bool:
        """Whether servers are to be stopped for the job."""
        return (job.options.in_use or self._policy) is InUse.STOP

    def needs(self, volume: Volume, findings: Sequence[Finding]) -> Sequence[Planned] | None:
        """The servers of a volume in use that are to be stopped."""
        if not stops_servers(findings):
            return None
        return [Planned(ref=ResourceRef(ResourceType.SERVER, each)) for each in volume.server_ids]

    def without_store(self, own_volumes: frozenset[str]) -> StopServer:
        """The same, which asks the store nothing."""
        return StopServer(self._cloud, self._work, self._ledger, self._settings, own_volumes=own_volumes)

    def why_useless(self) -> Ending | None:
        """A cloud that does not honour force exports no volume that is attached, whatever its servers do."""
        return self._ledger.force_ignored

    async def poll(
        self, outstanding: Sequence[Resource], jobs: Sequence[JobWithResources]
    ) -> Mapping[str, Seen]:
        """The servers as a list shows them, those that run and should not read again by their ids."""
        ours = {resource.resource_id for resource in outstanding}
        found = await self._servers(ours.union(*(row.needs for row in jobs)))
        self._found = found = await self._witness.second_look(found, outstanding, jobs)
        await self._witness.watch(jobs, found, ours=ours)
        return {server_id: seen_of(server) for server_id, server in found.items()}

    async def clear(self, job: Job, request: ExportRequest, *, is_held: bool) -> ExportRequest | None:
        """What to send now, after a look at the servers; unforced, the cloud refuses a volume in use."""
        return await self._witness.cleared(job, request) if is_held else request

    async def confirm(self, jobs: Sequence[JobWithResources]) -> None:
        """End jobs whose image is complete, after a last look at their servers."""
        await self._witness.confirm(jobs)

    async def acquire(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request the servers to stop."""
        return await self._cloud.compute.stop_servers(resource_ids, hard=self._hard, fence=fence)

    async def release(self, resource_ids: Sequence[str], fence: Fence) -> Mapping[str, CloudError]:
        """Request the servers to start."""
        return await self._cloud.compute.start_servers(resource_ids, fence=fence)

    async def releasable(self, resource_ids: Sequence[str]) -> list[str]:
        """Those of these none of whose volumes is being copied."""
        return await self._copies.free(resource_ids, self._found)

    def forget(self, resource_id: str) -> None:
        """The server is up, or gone."""
        self._copies.forget(resource_id)

    async def refresh(self, job: JobWithResources) -> JobWithResources:
        """The job on the servers that its volume is attached to now; on none where it is not in use."""
        volume = await self._cloud.block_storage.get_volume(job.job.volume_id)
        if volume is None or volume.status != "in-use":
            await self._book.detach([job.job])
            self._ledger.let_start([])
            return replace(job, held=False, needs=())
        server_ids = tuple(sorted(volume.server_ids))
        if server_ids != job.needs:
            await self._book.needs(job.job, server_ids)
        sized = replace(job.job, size_gib=volume.size_gib or job.job.size_gib)
        return replace(job, job=sized, needs=server_ids)

    async def select(self, jobs: Sequence[JobWithResources], outstanding: Collection[str]) -> Selection:
        """Which servers to stop for these jobs."""
        server_ids = {server_id for row in jobs for server_id in row.needs} - set(outstanding)
        try:
            found = await self._servers(server_ids)
        except AuthenticationError:
            raise
        except RefusedError as error:
            ending = not_sent("the compute service does not show the servers", error)
            return Selection(failed={row.job.job_id: ending for row in jobs})
        off = [each for each, server in found.items() if condition_of(server) is Condition.HELD]
        elsewhere = await self._stopped_elsewhere(off) if off else {}
        waiting = {each for each, other in elsewhere.items() if self._must_wait_for(each, other)}
        selection = select(
            jobs,
            found,
            outstanding=outstanding,
            timed_out=self._timed_out(server_ids, found),
            waiting=waiting,
            lost={
                each: _lost(each, other, cloud_name(self._cloud))
                for each, other in elsewhere.items()
                if each not in waiting
            },
        )
        self._note_changing(server_ids - selection.changing, selection.changing, found)
        return selection

    def why_refused(self, error: CloudError) -> Ending:
        """How a job fails whose server may not be stopped."""
        return not_sent("its server may not be stopped", error)

    def why_not_acquired(self, resource: Resource, status: str, answer: str | None) -> Ending:
        """How a job fails whose server did not stop in time."""
        minutes = self._stop_timeout_s / 60
        reason = f"not sent: server {resource} did not stop within {minutes:.0f} min, it is {status}"
        reason += f": {answer}" if answer else "; see --stop-timeout and --hard-stop"
        return Ending(reason=reason, code="server_not_stopped")

    def why_taken_back(self, resource: Resource) -> Ending:
        """How a job fails whose server somebody started before the export began."""
        reason = f"not sent: somebody started server {resource} before the export began"
        return Ending(reason=reason, code="server_started")

    async def _servers(self, server_ids: Collection[str]) -> dict[str, Server]:
        """What is known of these servers now, by id."""
        if not server_ids:
            return {}
        pages = self._cloud.compute.servers(sorted(server_ids))
        return {server.server_id: server async for page in pages for server in page}

    async def _stopped_elsewhere(self, server_ids: Collection[str]) -> dict[str, Elsewhere]:
        loop_now = asyncio.get_running_loop().time()
        if loop_now >= self._files_at:
            self._files_at = loop_now + FILES_EVERY_S
            self._elsewhere = await self._book.elsewhere()
        return {each: self._elsewhere[each] for each in server_ids if each in self._elsewhere}

    def _must_wait_for(self, server_id: str, other: Elsewhere) -> bool:
        """Whether the run that has stopped the server may soon start it."""
        loop_now = asyncio.get_running_loop().time()
        since = self._elsewhere_since.setdefault(server_id, loop_now)
        if since == loop_now:
            log.warning(
                "server %s is down for the exports of %s: its volumes wait for that, at most %.0f h",
                server_id,
                other.path,
                ELSEWHERE_S / 3600,
                extra={"action": "server_down_elsewhere", "server_id": server_id, "path": str(other.path)},
            )
        return other.is_working and loop_now - since < ELSEWHERE_S

    def _timed_out(self, server_ids: Collection[str], found: Mapping[str, Server]) -> set[str]:
        """Those of these that have been changing, or absent, for too long."""
        loop_now = asyncio.get_running_loop().time()
        patience_s = {True: GONE_AFTER_S, False: self._stop_timeout_s}
        timed_out: set[str] = set()
        for server_id in server_ids:
            is_absent = condition_of(found.get(server_id)) is Condition.ABSENT
            since = self._changing_since.get((server_id, is_absent), loop_now)
            if loop_now - since >= patience_s[is_absent]:
                timed_out.add(server_id)
        return timed_out

    def _note_changing(
        self, settled: Collection[str], changing: Collection[str], found: Mapping[str, Server]
    ) -> None:
        for server_id in settled:
            self._changing_since.pop((server_id, True), None)
            self._changing_since.pop((server_id, False), None)
        for server_id in changing:
            is_absent = condition_of(found.get(server_id)) is Condition.ABSENT
            self._changing_since.setdefault((server_id, is_absent), asyncio.get_running_loop().time())


def may_go_down(servers: int, *, down: int, max_down: int) -> bool:
    """Whether this many more servers may be down; a group that is larger than the limit goes by itself."""
    return not down or down + servers <= max_down


def _lost(server_id: str, other: Elsewhere, cloud: str | None) -> Ending:
    """How a job fails whose server another run has stopped and does not start."""
    start = on_state_file("servers", other.path, " --start", cloud=cloud)
    reason = (
        f"not sent: server {server_id} was stopped for run {other.run_id} and is not up again;"
        f" `{start}` starts it"
    )
    return Ending(reason=reason, code="server_down_elsewhere")


def _messages(*, resume: str, start: str, start_anyway: str) -> Messages:
    """The messages, with the commands as they can be pasted."""
    start_here = start.replace("%", "%%")
    return Messages(
        id_field="server_id",
        name="server %s",
        states={
            ResourceState.ACQUIRING: "stopping",
            ResourceState.HELD: "stopped",
            ResourceState.RELEASING: "starting",
        },
        acquiring="stopping server %s for the export of its volumes",
        held="server %s is down",
        released="server %s is up again",
        lost="server %s no longer exists",
        unseen="cannot poll the servers (%s); trying again",
        taken_back="server %s was started by somebody else before the exports of its volumes ended",
        stuck=f"server %s does not start (%s): start it yourself, or with `{start_here}` when the cloud can",
        stuck_note="does not start: %s",
        releasing="starting the stopped servers before the run ends: %s",
        leave_hint=f"a second Ctrl-C exits now; then `{resume}` or `{start}` starts them",
        left="not everything that was stopped is up again: %s",
        left_hint=f"`{resume}` starts them; `{start}` starts what is free",
        last_hint=f"`{start}` starts what is free",
        last_unread="servers may be down (cannot read which: %s)",
        last_late="not every server could be asked to start (%s)",
        last_requested="servers asked to start, not seen up: %s",
        last_kept="servers still down: %s",
        left_exported_hint=f"`{resume}` starts them after the exports; `{start_anyway}` starts them now,"
        f" under the exports; `{start}` starts what is free",
    )

"""What the cloud shows of our snapshots and temporary volumes, those of lost answers and duplicates too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from batchexport.engine.ports import Cloud
from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.resources.lifecycle import NOT_LOOKED, UNKNOWN, Condition, Seen
from batchexport.engine.steps.copy_marks import BUSY, RUN, Found, found_of, name_of, not_ours, seen_of
from batchexport.engine.steps.copy_schedule import CopySchedule
from batchexport.errors import AuthenticationError, CloudError
from batchexport.model import ResourceState, ResourceType, Snapshot, Volume
from batchexport.store import Resource

log = logging.getLogger(__name__)

#: What is held is looked at this often: nothing is expected to become of it.
HELD_EVERY_S = 300.0
#: Copies that no list shows are read by their ids, so many in a poll.
MAX_SINGLE_READS = 20
#: One that we deleted and a list lacks is read by its id when this has passed.
READ_AFTER_S = 10.0
#: Nothing was ever requested under its name.
NOT_REQUESTED = Seen(Condition.FREE, "not requested", is_certain=True)
#: Its deletion was accepted, and it is shown no more: so much longer, and to a read by its id.
GONE = Seen(Condition.FREE, "gone")


class CopyWatch:
    """Lists the copies of one run, and tells of each what it is for us."""

    def __init__(
        self, cloud: Cloud, book: ResourceBook, run_id: str, fresh: Collection[str], schedule: CopySchedule
    ) -> None:
        """`fresh`: ids of copies that were certainly never requested; read at each poll."""
        self.schedule = schedule
        self._unlisted: dict[str, float] = {}  # ids of what we deleted: since when lists lack it
        self._cloud = cloud
        self._book = book
        self._run_id = run_id
        self._fresh = fresh
        self._held_at = 0.0  # loop time at which all that is held was looked at last
        self._gone: set[str] = set()  # cloud ids of what was released: lists may lag
        self._cloud_ids: dict[str, str] = {}  # by resource id
        self.deleted: set[str] = set()  #: ids of copies whose deletion the cloud accepted
        self.stuck: set[str] = set()  #: ids of those that cannot be deleted as they are
        self.created_at: dict[str, float] = {}  #: by resource id, by the cloud's clock
        self.is_noting = True  #: False: the store cannot be written

    def forget(self, resource_id: str) -> None:
        """It is gone: a list that still shows it is late."""
        if (cloud_id := self._cloud_ids.pop(resource_id, None)) is not None:
            self._gone.add(cloud_id)
        self.deleted.discard(resource_id)
        self.stuck.discard(resource_id)
        self._unlisted.pop(resource_id, None)
        self.schedule.ended(resource_id)

    async def poll(
        self, outstanding: Sequence[Resource], *, needed: Collection[str], at_s: float
    ) -> tuple[Mapping[str, Seen], Mapping[str, Resource]]:
        """What is seen of these, and the same with the ids that the cloud was found to have given them.

        What is held and `needed` is looked at now and then: nothing is expected to become of it.
        """
        known = {each.resource_id: each for each in outstanding}
        seen: dict[str, Seen] = {}
        loop_now = asyncio.get_running_loop().time()
        is_all = loop_now - self._held_at >= HELD_EVERY_S
        for kind in (ResourceType.SNAPSHOT, ResourceType.VOLUME):
            theirs = [each for each in outstanding if each.kind == kind]
            moving = [each for each in theirs if _is_moving(each, needed)]
            requested = [each for each in moving if self._may_have_changed(each)]
            if (requested and self._is_list_due(kind, requested)) or (theirs and is_all):
                found = await self._list(kind)
                self._note_listed(kind, theirs, found)
                theirs = [await self._identified(each, found) for each in theirs]
                known |= {each.resource_id: each for each in theirs}
                await self._note_duplicates(kind, found, theirs, at_s=at_s)
                seen |= await self._seen(theirs, found)
            else:
                fresh = (each.resource_id for each in moving if each.resource_id in self._fresh)
                seen |= dict.fromkeys(fresh, NOT_REQUESTED)
                seen |= await self._seen(requested, None)
        if is_all:
            self._held_at = loop_now
        self._cloud_ids |= {each.resource_id: each.cloud_id for each in known.values() if each.cloud_id}
        unseen = {each for each in self.stuck if seen.get(each, NOT_LOOKED) is NOT_LOOKED}
        self.stuck = unseen | {each for each, what in seen.items() if what.is_stuck}
        return seen, known

    def _may_have_changed(self, resource: Resource) -> bool:
        """Whether a list may show something new of it: not of a snapshot that is there, or not requested."""
        is_there = resource.state is ResourceState.HELD and resource.kind == ResourceType.SNAPSHOT
        return resource.resource_id not in self._fresh and not is_there

    def _is_list_due(self, kind: ResourceType, requested: Sequence[Resource]) -> bool:
        listed = [each for each in requested if each.resource_id not in self._unlisted]
        # One that is there and not needed may still be uploading: it is looked at before it is deleted.
        is_unneeded = any(each.state is ResourceState.HELD for each in listed)
        return bool(listed) and (is_unneeded or self.schedule.is_due(kind))

    def _note_listed(self, kind: ResourceType, known: Sequence[Resource], found: Mapping[str, Found]) -> None:
        """Learn how long those took that are made now, and when to list again."""
        moving = [each for each in known if each.state is not ResourceState.HELD]
        for each in moving:
            one = found.get(each.cloud_id or "")
            if each.state is ResourceState.ACQUIRING and one is not None and one.status not in BUSY:
                self.schedule.ended(each.resource_id)
        self.schedule.listed(kind, [each.resource_id for each in moving if self._may_have_changed(each)])

    async def _list(self, kind: ResourceType) -> dict[str, Found]:
        """By the cloud's id, all that is proved to be of this run."""
        found: dict[str, Found] = {}
        copies, mark = self._cloud.copies, {RUN: self._run_id}
        if kind is ResourceType.SNAPSHOT:
            async for snapshots in copies.marked_snapshots(mark):
                found |= {one.cloud_id: one for each in snapshots if (one := found_of(each, self._run_id))}
        else:
            async for volumes in copies.marked_volumes(mark):
                found |= {one.cloud_id: one for each in volumes if (one := found_of(each, self._run_id))}
        return found

    async def _identified(self, resource: Resource, found: Mapping[str, Found]) -> Resource:
        """The resource with its id in the cloud, if a list shows it under its name."""
        if resource.cloud_id is not None:
            return resource
        named = [each for each in found.values() if each.name == resource.resource_id]
        if not named:
            return resource
        first = min(named, key=lambda each: (each.created_at or 0.0, each.cloud_id))
        if self.is_noting:
            await self._book.created(resource.resource_id, first.cloud_id)
        extra = {"action": "copy_found", "resource_id": resource.resource_id, "cloud_id": first.cloud_id}
        log.info("%s: found as %s", resource.resource_id, first.cloud_id, extra=extra)
        return replace(resource, cloud_id=first.cloud_id)

    async def _note_duplicates(
        self, kind: ResourceType, found: Mapping[str, Found], known: Sequence[Resource], *, at_s: float
    ) -> None:
        """What is ours, and no resource says so: made twice by one request, or visible only now."""
        if not self.is_noting:
            return
        ours = {each.cloud_id for each in known} | self._gone
        volumes = {each.resource_id: each.volume_id for each in known}
        for cloud_id, each in found.items():
            if cloud_id in ours or each.status == "deleting":
                continue
            self._gone.add(cloud_id)  # noted once
            resource_id = f"{each.name}.{cloud_id}"
            extra = {"action": "copy_duplicate", "resource_id": resource_id, "cloud_id": cloud_id}
            log.warning(
                "%s %s (%s) is ours and not needed: deleting it", kind, cloud_id, each.name, extra=extra
            )
            await self._book.duplicate(resource_id, cloud_id, volume_id=volumes.get(each.name), at_s=at_s)

    async def _seen(self, known: Sequence[Resource], found: Mapping[str, Found] | None) -> dict[str, Seen]:
        """What each is for us. `found`: what a list shows; None = it was not due.

        A copy that we deleted and a list lacks is gone when, some time later, a read by its id says so too.
        """
        seen: dict[str, Seen] = {}
        reads = 0
        for each in known:
            name, one = each.resource_id, (found or {}).get(each.cloud_id or "")
            seen[name] = NOT_LOOKED
            if one is not None:
                self._unlisted.pop(name, None)
                seen[name] = seen_of(one.status)
                if one.created_at is not None:
                    self.created_at.setdefault(name, one.created_at)
            elif each.cloud_id is None:
                if name in self._fresh:
                    seen[name] = NOT_REQUESTED
                elif found is not None:
                    seen[name] = Seen(Condition.ABSENT, "not found")
            elif found is not None and name in self.deleted and name not in self._unlisted:
                self._unlisted[name] = asyncio.get_running_loop().time()
                self.schedule.ended(name)
                seen[name] = GONE
            elif self._is_read_due(name, is_listed=found is not None) and reads < MAX_SINGLE_READS:
                reads += 1
                seen[name] = await self._read(each, each.cloud_id)
        return seen

    def _is_read_due(self, resource_id: str, *, is_listed: bool) -> bool:
        """Whether one that no list shows is to be read by its id now."""
        since = self._unlisted.get(resource_id)
        if since is None:
            return is_listed
        return asyncio.get_running_loop().time() - since >= READ_AFTER_S

    async def _read(self, resource: Resource, cloud_id: str) -> Seen:
        """What a read by its id shows of one that a list left out."""
        try:
            one: Snapshot | Volume | None
            if resource.kind == ResourceType.SNAPSHOT:
                one = await self._cloud.copies.get_snapshot(cloud_id)
            else:
                one = await self._cloud.block_storage.get_volume(cloud_id)
        except AuthenticationError:
            raise
        except CloudError as error:
            extra = {"action": "copy_unreadable", "resource_id": name_of(resource.resource_id)}
            log.debug("%s cannot be read: %s", resource, error, extra=extra)
            return UNKNOWN
        if one is None:
            return GONE if resource.resource_id in self.deleted else Seen(Condition.ABSENT, "not found")
        self._unlisted.pop(resource.resource_id, None)
        if one.name != name_of(resource.resource_id):
            return not_ours(one.name)  # an answer may name what is somebody else's
        return seen_of(one.status)


def _is_moving(resource: Resource, needed: Collection[str]) -> bool:
    return resource.state is not ResourceState.HELD or resource.resource_id not in needed

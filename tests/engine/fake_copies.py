"""A fake cloud whose volumes are in use, with snapshots, temporary volumes, and a fault for each request."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from msgspec.structs import replace

from batchexport.errors import (
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    TransientError,
    VolumeStateError,
)
from batchexport.model import (
    Accepted,
    ExportRequest,
    Server,
    Snapshot,
    SnapshotRequest,
    Volume,
    VolumeDetails,
    VolumeRequest,
)
from tests.engine.fake_cloud import FakeCloud

LATE_S = 5.0


class CopyCloud(FakeCloud):
    """`lost` is what becomes of the next requests to create or delete, the last first; then all is well."""

    def __init__(
        self,
        in_use: Mapping[str, str],
        *,
        create_s: float = 10.0,
        delete_s: float = 10.0,
        lost: list[str] | None = None,
        quota: int = 1000,
        clones: bool = True,
        ids: str = "honoured",
        max_apart_s: float = 0.0,
        **options: Any,
    ) -> None:
        """`in_use`: by volume id its server; `quota`: of snapshots, and of temporary volumes; `ids`: what the
        cloud makes of ids of images that are chosen before: honoured, ignored, refused or unavailable.
        """
        statuses = options.pop("statuses", {})
        super().__init__(statuses={**dict.fromkeys(in_use, "in-use"), **statuses}, **options)
        self.servers_of = dict(in_use)
        self.create_s, self.delete_s = create_s, delete_s
        self.lost = lost or []
        self.quota = quota
        self.clones = clones
        self.ids = ids
        self.max_apart_s = max_apart_s  # between the first and the fourth of what is made at once
        self.given_ids: set[str] = set()  # of images: none is given twice
        self.things: dict[str, dict[str, Any]] = {}  # snapshots and temporary volumes, by id
        self.removed: list[str] = []  # ids that were asked to be deleted
        self.requests: list[tuple[str, str]] = []  # (what, name) of each create and delete
        self.answers_with: dict[str, str] = {}  # by kind, the id of somebody else's that creates answer with
        self.most_things = 0
        self.unlisted: set[str] = set()  # ids of what lists leave out
        self.fails_to_make: dict[str, int] = {}  # by kind: so many of the next ones end in an error
        self.before_change: Callable[[str, str, str], None] | None = None
        self.after_order: Callable[[], None] | None = None
        self.after_export: Callable[[], None] | None = None
        self.numbers = itertools.count(1)

    def add(self, kind: str, name: str, metadata: dict[str, str]) -> str:
        """A snapshot or volume of somebody else."""
        return self._add(kind, name, metadata, "somebody's", None)

    def _add(
        self, kind: str, name: str, metadata: Mapping[str, str], volume_id: str, snapshot_id: str | None,
        *, after_s: float = 0.0, status: str = "available",
    ) -> str:  # fmt: skip
        now = self.server_now_s() + after_s
        thing_id = f"{kind}-{next(self.numbers)}"
        told = now + self.max_apart_s * (len(self.things) % 4) / 3
        self.things[thing_id] = {
            "kind": kind, "name": name, "metadata": dict(metadata), "volume_id": volume_id,
            "snapshot_id": snapshot_id, "created": now, "told": told, "ready_at": now + self.create_s,
            "gone_at": None, "status": status,
        }  # fmt: skip
        self.faults[thing_id] = self.faults[volume_id]  # an export of the copy has those of the volume
        return thing_id

    def status_of(self, thing_id: str) -> str | None:
        """The status now; None = there is none."""
        thing, now = self.things.get(thing_id), self.server_now_s()
        if thing is None or now < thing["created"]:
            return None
        if thing["gone_at"] is not None:
            return None if now >= thing["gone_at"] else "deleting"
        if now < thing["ready_at"]:
            return "creating"
        return "uploading" if self._uploading(thing_id, now) else str(thing["status"])

    def left(self, kind: str | None = None) -> list[str]:
        """Ids of ours that are there, or may still appear."""
        return [
            each
            for each, thing in self.things.items()
            if kind in (None, thing["kind"]) and thing["volume_id"] != "somebody's"
            and (thing["gone_at"] is None or self.server_now_s() < thing["gone_at"])
        ]  # fmt: skip

    # What the engine asks of volumes, copies among them ------------------------------------------------

    def exports_of(self, volume_id: str) -> list[str]:
        copies = {each for each, thing in self.things.items() if thing["volume_id"] == volume_id}
        return [key for key, record in self.records.items() if record["volume_id"] in {volume_id, *copies}]

    def _uploading(self, volume_id: str, now: float) -> bool:
        return any(
            record["volume_id"] == volume_id and record["created"] <= now < record["free_at"]
            for record in self.records.values()
        )

    def _volume(self, volume_id: str, now: float) -> Volume | None:
        if volume_id in self.things:
            thing, status = self.things[volume_id], self.status_of(volume_id)
            if status is None or thing["kind"] != "volume":
                return None
            source_id = None if thing["snapshot_id"] else thing["volume_id"]
            details = VolumeDetails(
                metadata=thing["metadata"], snapshot_id=thing["snapshot_id"], source_volume_id=source_id
            )
            return Volume(
                volume_id=volume_id, status=status, size_gib=10, name=thing["name"], details=details
            )
        volume = super()._volume(volume_id, now)
        if volume is None or volume.status != "in-use":
            return volume
        return Volume(
            volume_id=volume_id, status="in-use", size_gib=10, server_ids=(self.servers_of[volume_id],)
        )

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        self._read("volumes")
        now = self.server_now_s()
        exported = (record["volume_id"] for record in self.records.values())
        known = dict.fromkeys([*self.statuses, *self.things, *exported])
        volumes = [self._volume(each, now) for each in known]
        yield [each for each in volumes if each is not None and status in (None, each.status)]

    # Copies --------------------------------------------------------------------------------------------

    async def marked_volumes(self, metadata: Mapping[str, str]) -> AsyncIterator[list[Volume]]:
        self._read("marked_volumes")
        found = (self._volume(each, self.server_now_s()) for each in self.things)
        listed = [each for each in found if each is not None]  # the filter is ignored here
        yield [each for each in listed if each.volume_id not in self.unlisted]

    async def marked_snapshots(self, metadata: Mapping[str, str]) -> AsyncIterator[list[Snapshot]]:
        self._read("marked_snapshots")
        found = [self._snapshot(each) for each in self.things]
        yield [
            each
            for each in found
            if each is not None and metadata.items() <= each.metadata.items()
            and each.snapshot_id not in self.unlisted
        ]  # fmt: skip

    async def get_snapshot(self, snapshot_id: str) -> Snapshot | None:
        self._read("snapshot")
        return self._snapshot(snapshot_id)

    def _snapshot(self, thing_id: str) -> Snapshot | None:
        thing, status = self.things.get(thing_id), self.status_of(thing_id)
        if thing is None or status is None or thing["kind"] != "snapshot":
            return None
        return Snapshot(
            snapshot_id=thing_id, status=status, volume_id=thing["volume_id"], name=thing["name"],
            size_gib=10, created_at=thing["told"], metadata=thing["metadata"],
        )  # fmt: skip

    async def set_image_metadata(
        self, volume_id: str, metadata: Mapping[str, str], *, fence: Callable[[], None]
    ) -> None:
        self.calls["set_image_metadata"] += 1
        await asyncio.sleep(0)
        fence()
        assert self.things[volume_id]["volume_id"] != "somebody's", "only copies of ours are changed"
        if self.ids == "unavailable":
            raise TransientError("service unavailable", status=503)
        if self.ids == "refused":
            raise RefusedError("There is no such action", method="POST", status=400)
        self.things[volume_id]["image_metadata"] = dict(metadata)

    async def upload_volume_to_image(self, request: ExportRequest, *, fence: Callable[..., Any]) -> Accepted:
        try:
            return await super().upload_volume_to_image(request, fence=fence)
        finally:
            if self.after_export is not None:
                self.after_export()

    def _new_image_id(self, request: ExportRequest) -> str:
        chosen = self.things.get(request.volume_id, {}).get("image_metadata", {}).get("id")
        if chosen is None or self.ids != "honoured":
            return super()._new_image_id(request)
        is_late = chosen in self.records and self.records[chosen]["created"] > self.server_now_s()
        if chosen in self.given_ids and not is_late:  # one that arrives later will be refused itself
            message = f"HTTP 409 Conflict: Image ID {chosen} already exists!"
            raise RefusedError(message, method="POST", status=400)
        self.given_ids.add(chosen)
        return str(chosen)

    async def get_storage_quota(self) -> None:
        return None

    async def create_snapshot(self, request: SnapshotRequest, *, fence: Callable[[], None]) -> Snapshot:
        thing_id = await self._create("snapshot", request, request.volume_id, None, fence)
        other_id = self.answers_with.get("snapshot")
        made = self._snapshot(other_id or thing_id)
        assert made is not None
        return replace(made, name=None) if other_id else made

    async def create_volume(self, request: VolumeRequest, *, fence: Callable[[], None]) -> Volume:
        source = request.source_volume_id
        if source is not None and not self.clones:
            raise RefusedError("clones are not supported", method="POST", status=400)
        if request.snapshot_id is not None:
            if self.status_of(request.snapshot_id) != "available":
                raise RefusedError("the snapshot is not available", method="POST", status=400)
            source = self.things[request.snapshot_id]["volume_id"]
        assert source is not None
        thing_id = await self._create("volume", request, source, request.snapshot_id, fence)
        other_id = self.answers_with.get("volume")
        made = self._volume(other_id or thing_id, self.server_now_s())
        assert made is not None
        return replace(made, name=None) if other_id else made

    async def get_server(self, server_id: str) -> Server:
        return Server(server_id=server_id, status="active", name=f"name of {server_id}")

    async def _create(
        self,
        kind: str,
        request: SnapshotRequest | VolumeRequest,
        source: str,
        snapshot_id: str | None,
        fence: Callable[[], None],
    ) -> str:
        self.calls[f"create_{kind}"] += 1
        await asyncio.sleep(0)
        fence()
        self.requests.append(("create", request.name))
        assert len(request.name) <= 64 and len(request.description) <= 85
        if self.before_change is not None:
            self.before_change("create", kind, request.name)
        fault = self.lost.pop() if self.lost else "none"
        await asyncio.sleep(0.05)
        try:
            if len(self.left(kind)) >= self.quota:
                raise QuotaError(f"Maximum number of {kind}s allowed exceeded", status=413, retry_after_s=0.0)
            if fault == "unavailable":
                raise TransientError("service unavailable", status=503)
            if fault == "before":
                raise OutcomeUnknownError("connection reset")
            after_s = LATE_S if fault == "late" else 0.0
            is_failing = fault == "error" or self.fails_to_make.get(kind, 0) > 0
            self.fails_to_make[kind] = self.fails_to_make.get(kind, 0) - 1
            status = "error" if is_failing else "available"
            new = (kind, request.name, request.metadata, source, snapshot_id)
            thing_id = self._add(*new, after_s=after_s, status=status)
            if fault == "twice":
                self._add(*new, after_s=LATE_S)
            self.most_things = max(self.most_things, len(self.left(kind)))
            if fault in ("after", "late"):
                raise OutcomeUnknownError("connection reset")
            return thing_id
        finally:
            self._happened()

    async def delete_snapshot(self, snapshot_id: str, *, fence: Callable[[], None]) -> None:
        await self._delete("snapshot", snapshot_id, fence)

    async def delete_volume(self, volume_id: str, *, fence: Callable[[], None]) -> None:
        await self._delete("volume", volume_id, fence)

    async def _delete(self, kind: str, thing_id: str, fence: Callable[[], None]) -> None:
        self.calls[f"delete_{kind}"] += 1
        await asyncio.sleep(0)
        fence()
        thing = self.things.get(thing_id)
        assert thing is not None, f"{thing_id} was never made for us"
        self.requests.append(("delete", thing["name"]))
        if self.before_change is not None:
            self.before_change("delete", kind, thing["name"])
        self.removed.append(thing_id)
        fault = self.lost.pop() if self.lost else "none"
        await asyncio.sleep(0.05)
        try:
            status = self.status_of(thing_id)
            if status is None:
                raise NotFoundError("could not be found", method="DELETE", status=404)
            if status not in ("available", "error") or self._has_dependants(thing_id):
                raise VolumeStateError(f"it is {status}, or something depends on it", status=400)
            if fault == "before":
                raise OutcomeUnknownError("connection reset")
            if fault == "unavailable":
                raise TransientError("service unavailable", status=503)
            if fault == "busy":
                return  # accepted, and then it is available again
            thing["gone_at"] = self.server_now_s() + self.delete_s
            if fault in ("after", "late"):
                raise OutcomeUnknownError("connection reset")
        finally:
            self._happened()

    def _has_dependants(self, thing_id: str) -> bool:
        return any(
            thing["snapshot_id"] == thing_id and self.status_of(each) is not None
            for each, thing in self.things.items()
        )

    def _happened(self) -> None:
        if self.after_order is not None:
            asyncio.get_running_loop().call_soon(self.after_order)

"""A cloud in memory that speaks the engine's protocol, on the loop's clock, with a fault for each request.

It behaves as the real one was seen to: the image exists before the answer, a volume that is uploading refuses
a second export, a failed export leaves the volume available and takes the image away.
"""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from batchexport.dialect import CINDER
from batchexport.errors import (
    AuthenticationError,
    FatalError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ThrottledError,
    TransientError,
    UnreachableError,
    VolumeStateError,
)
from batchexport.identity import CloudIdentity
from batchexport.image_labels import LabelledImage, Labels
from batchexport.model import Accepted, ExportRequest, Image, Volume
from tests.engine.fast_time import fast_now

EPOCH = 1_800_000_000.0  # so that loop times look like times
UPLOAD_S = 20.0
LATE_S = 12.0


class FakeCloud:
    """`faults[volume_id]` is what becomes of the first, second … request for it; then all is well."""

    def __init__(
        self,
        *,
        faults: dict[str, Any] | None = None,
        statuses: dict[str, str | None] | None = None,
        upload_s: float = UPLOAD_S,
        image_lag_s: float = 2.0,
    ) -> None:
        self.faults = defaultdict(list, {key: list(value) for key, value in (faults or {}).items()})
        self.statuses = statuses or {}  # volume id -> status, where it is not `available`
        self.requests_per_second = 0.0
        self.calls: Counter[str] = Counter()
        self.posts: list[tuple[float, str]] = []  # (loop time, volume id), every request that arrived
        self.records: dict[str, dict[str, Any]] = {}  # by image id
        self.deleted: list[str] = []  # image ids
        self.most_in_progress = 0
        self._down_until = 0.0
        self.delete_error: Exception | None = None
        self.label_faults: list[Exception | str] = []  # what becomes of the next requests to set labels
        self.broken_reads = 0  # so many reads fail before one succeeds
        self._upload_s = upload_s
        self._image_lag_s = image_lag_s
        self._ids = itertools.count(1)

    dialect = CINDER
    identity: CloudIdentity | None = None

    @property
    def block_storage(self) -> Any:
        """This one object is each of the cloud's services."""
        return self

    image = compute = copies = labels = block_storage

    async def get_quota(self) -> None:
        return None

    def server_now_s(self) -> float:
        return EPOCH + fast_now()

    def total_reads(self) -> int:
        return sum(count for call, count in self.calls.items() if call != "post")

    def accept_elsewhere(self, volume_id: str, *, name: str) -> None:
        """An export of the volume that somebody else began just now, before the loop runs."""
        began = EPOCH + fast_now()
        self.records[f"other-{volume_id}"] = {
            "volume_id": volume_id,
            "name": name,
            "created": began,
            "active_at": began + self._upload_s,
            "gone_at": None,
            "free_at": began + self._upload_s,
            "stuck": None,
        }

    def down_for(self, seconds: float) -> None:
        """Every export is answered 503 for so long."""
        self._down_until = self.server_now_s() + seconds

    def _read(self, call: str) -> None:
        self.calls[call] += 1
        if self.broken_reads:
            self.broken_reads -= 1
            raise TransientError("bad gateway", status=502)

    # what the world looks like now ------------------------------------------------------------------

    def exports_of(self, volume_id: str) -> list[str]:
        return [image_id for image_id, record in self.records.items() if record["volume_id"] == volume_id]

    def live_images_of(self, volume_id: str) -> list[str]:
        now = self.server_now_s()
        return [i for i in self.exports_of(volume_id) if self._image(i, now) is not None]

    def good_images_of(self, volume_id: str) -> list[str]:
        return [i for i in self.exports_of(volume_id) if self.records[i]["active_at"] is not None]

    def _uploading(self, volume_id: str, now: float) -> bool:
        for image_id in self.exports_of(volume_id):
            record = self.records[image_id]
            if record["created"] <= now < record["free_at"]:
                return True
        return False

    def _volume(self, volume_id: str, now: float) -> Volume | None:
        status = self.statuses.get(volume_id, "available")
        if status is None:
            return None
        if self._uploading(volume_id, now):
            status = "uploading"
        return Volume(volume_id=volume_id, status=status, size_gib=10)

    def _image(self, image_id: str, now: float) -> Image | None:
        record = self.records[image_id]
        if now < record["created"] or (record["gone_at"] is not None and now >= record["gone_at"]):
            return None
        active = record["active_at"] is not None and now >= record["active_at"]
        updated = record["active_at"] if active else record["created"]
        return Image(
            image_id=image_id,
            name=record["name"],
            status="active" if active else record["stuck"] or "queued",
            created_at=float(int(record["created"])),
            updated_at=float(int(updated)),
        )

    # the protocol -----------------------------------------------------------------------------------

    async def upload_volume_to_image(self, request: ExportRequest, *, fence: Callable[..., Any]) -> Accepted:
        self.calls["post"] += 1
        await asyncio.sleep(0)
        fence()
        now = self.server_now_s()
        self.posts.append((now, request.volume_id))
        fault = self.faults[request.volume_id].pop(0) if self.faults[request.volume_id] else None
        await asyncio.sleep(0.05)
        match "unavailable" if now < self._down_until else fault:
            case "unreachable":
                raise UnreachableError("connection refused")
            case "signed out":
                raise AuthenticationError("the token is refused, and so is a fresh one", status=401)
            case "unavailable":
                raise TransientError("service unavailable", status=503)
            case "throttled":
                raise ThrottledError("over limit", status=429)
            case "refused":
                raise RefusedError("bad disk format", status=400)
            case "quota":
                message = "Requested 500G, quota is 1000G and 900G has been consumed"
                raise QuotaError(message, status=413, code="overLimit")
            case "forbidden":
                raise ForbiddenError("blocked by a policy", method="POST", status=403)
            case "flapping":
                raise AuthenticationError("authentication required", method="POST", status=401)
            case "fatal":
                raise FatalError("account frozen", status=403, code="EVS.2144")
            case "lost before":
                raise OutcomeUnknownError("connection reset")
            case "late":
                self._accept(request, now + LATE_S)
                raise OutcomeUnknownError("time-out")
        volume = self._volume(request.volume_id, now)
        if volume is None:
            raise NotFoundError("could not be found", status=404)
        if not self._may_export(volume, request):
            raise VolumeStateError("status must be available", status=400)
        image_id = self._accept(request, now, fault)
        if fault == "twice":  # somebody's proxy sent it again
            self._accept(request, now)
        if fault in ("lost", "twice", "lost and fails"):
            raise OutcomeUnknownError("connection reset")
        return Accepted(image_id=image_id, size_gib=10, request_id=f"req-{image_id}")

    def _may_export(self, volume: Volume, request: ExportRequest) -> bool:
        return volume.status == "available"

    def _accept(self, request: ExportRequest, at: float, fault: str | None = None) -> str:
        image_id = self._new_image_id(request)
        fails = fault in ("fails", "lost and fails")
        done_at = at + self._upload_s
        self.records[image_id] = {
            "volume_id": request.volume_id,
            "name": request.image_name,
            "created": at,
            "active_at": None if fails or fault in ("orphan", "killed") else done_at,
            "gone_at": done_at if fails else None,
            "free_at": done_at + self._image_lag_s,
            "stuck": {"orphan": "saving", "killed": "killed"}.get(fault or ""),
        }
        now = self.server_now_s()
        in_progress = sum(record["created"] <= now < record["free_at"] for record in self.records.values())
        self.most_in_progress = max(self.most_in_progress, in_progress)
        return image_id

    def _new_image_id(self, request: ExportRequest) -> str:
        return f"image-{next(self._ids)}"

    async def get_volume(self, volume_id: str) -> Volume | None:
        self._read("volume")
        return self._volume(volume_id, self.server_now_s())

    async def volumes(self, *, status: str | None = None) -> AsyncIterator[list[Volume]]:
        self._read("volumes")
        now = self.server_now_s()
        known = dict.fromkeys(record["volume_id"] for record in self.records.values())
        volumes = [volume for volume_id in known if (volume := self._volume(volume_id, now))]
        yield [volume for volume in volumes if status in (None, volume.status)]

    async def get_image(self, image_id: str) -> Image | None:
        self._read("image")
        return self._image(image_id, self.server_now_s()) if image_id in self.records else None

    def _all_images(self) -> list[Image]:
        now = self.server_now_s()
        return [image for image_id in self.records if (image := self._image(image_id, now))]

    async def images_named(self, name: str) -> list[Image]:
        self._read("images_named")
        return [image for image in self._all_images() if image.name == name]

    async def images_by_id(self, image_ids: Sequence[str]) -> AsyncIterator[list[Image]]:
        self._read("images_by_id")
        yield [image for image in self._all_images() if image.image_id in image_ids]

    async def images(
        self,
        *,
        status: str | None = None,
        created_since: float | None = None,
        updated_since: float | None = None,
    ) -> AsyncIterator[list[Image]]:
        self._read("images")
        by = "updated_at" if created_since is None else "created_at"
        yield [
            image
            for image in sorted(self._all_images(), key=lambda image: getattr(image, by))
            if status in (None, image.status)
            and (created_since is None or (image.created_at or 0.0) >= created_since)
            and (updated_since is None or (image.updated_at or 0.0) >= updated_since)
        ]

    async def delete_image(self, image_id: str, *, fence: Callable[..., Any]) -> None:
        self.calls["delete_image"] += 1
        fence()
        if self.delete_error is not None:
            raise self.delete_error
        if image_id not in self.records or self._image(image_id, self.server_now_s()) is None:
            raise NotFoundError("no image found", method="DELETE", status=404)
        del self.records[image_id]
        self.deleted.append(image_id)

    async def set_labels(self, image_id: str, labels: Labels, *, fence: Callable[..., Any]) -> None:
        self.calls["set_labels"] += 1
        await asyncio.sleep(0)
        fence()
        fault = self.label_faults.pop(0) if self.label_faults else None
        if isinstance(fault, Exception):
            raise fault
        image = self._image(image_id, self.server_now_s()) if image_id in self.records else None
        if image is None:
            raise NotFoundError("no image found", method="PATCH", status=404)
        if image.status == "active" and fault != "lost":
            record = self.records[image_id]
            have = record.get("labels") or Labels()
            record["labels"] = Labels(
                properties={**have.properties, **labels.properties}, tags=labels.tags or have.tags
            )
        if fault == "no answer":
            raise OutcomeUnknownError("connection reset")

    async def labelled(self, image_ids: Sequence[str]) -> dict[str, LabelledImage]:
        self._read("labelled")
        return {
            image.image_id: LabelledImage(
                status=image.status, labels=self.records[image.image_id].get("labels") or Labels()
            )
            for image in self._all_images()
            if image.image_id in image_ids
        }

    async def failure_reason(self, volume_id: str, request_id: str | None) -> str | None:
        self.calls["failure_reason"] += 1
        return "copy volume to image: failed at backend" if request_id else None

"""Writes one image into an image service, exactly once: under an id that we choose, and compared.

The service refuses a second image of the same id. What cannot be finished (its service died over it, or the
data is wrong) is deleted, and the next one has the next id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress

import msgspec

from batchexport.engine.deliver.evidence import Verdict, verdict
from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.engine.deliver.requests import send
from batchexport.errors import CloudError, NotFoundError, RefusedError, TransientError, VolumeStateError
from batchexport.model import Image
from batchexport.store import Work
from batchexport.transfer import Bandwidth, OpenFrom, Stream, WrongDataError

log = logging.getLogger(__name__)

#: The property that says who made it, and for what.
MARKER = "batchexport_delivery"
#: An upload whose connection broke leaves `saving` within 1.5 s; one whose service died, never.
STUCK_AFTER_S = 60.0
#: An import, or a service that goes on writing after the last byte.
FINISHES_WITHIN_S = 900.0
#: How long an image may be missing from the answers of a service that says that its id is taken.
UNSEEN_FOR_S = 30.0
_LOOK_S = 2.0
#: Ids that are tried in one go.
MAX_TURNS = 6
#: Copies that arrive with wrong data: a third one in a row would be no accident.
_MAX_WRONG = 2
_CONFLICT = 409
_BEING_WRITTEN = ("saving", "uploading", "importing")


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What the image is to be."""

    size: int
    expected: Mapping[str, str]  #: digests that the data must have, by algorithm; empty = none are known
    fields: Mapping[str, object]  #: of the image, without its id
    open_from: OpenFrom


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is there and whole."""

    image_id: str
    turn: int  #: the place of its id among those given
    is_new: bool  #: we sent its data just now
    verdict: Verdict


class ImageWriter(msgspec.Struct, frozen=True, kw_only=True):
    """Writes one image into one service."""

    cloud: DeliveryCloud
    marker: str  #: the value of our mark on it
    works: Sequence[Work] = ()  #: whose leases must be live for every request
    slot: Callable[[], AbstractAsyncContextManager[object]]  #: what it makes is entered while data is sent
    bandwidth: Bandwidth
    begin: Callable[[], Callable[[int], None]]  #: a transfer begins; what it returns hears of its bytes
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def write(
        self, content: Content, id_of: Callable[[int], str], *, first: int, on_turn: OnTurn
    ) -> Written:
        """The image, there and compared. `id_of` gives the id of each turn; `first` is where to begin.

        `on_turn` is awaited before anything is made under an id. Raises RefusedError where another try does
        not help, WrongDataError where the data arrived wrong more than once.
        """
        wrong, wrongs = "", 0
        for turn in range(first, first + MAX_TURNS):
            image_id = id_of(turn)
            await on_turn(turn, image_id)
            image = await self._settled(image_id) or await self._created(image_id, content)
            sent = None
            is_new = image is not None and image.status == "queued"
            if is_new:
                await self._check_ours(image_id)
                sent = await self._upload(image_id, content)
                within_s = STUCK_AFTER_S if sent is None else FINISHES_WITHIN_S
                image = await self._settled(image_id, within_s=within_s)
            if image is None:
                continue
            if image.status == "queued":
                raise TransientError("the image is queued again after its upload: it is sent once more")
            if image.status == "active":
                found = verdict(size=content.size, expected=content.expected, sent=sent, there=image)
                if found.is_whole:
                    return Written(image_id=image_id, turn=turn, is_new=is_new, verdict=found)
                wrong, wrongs = found.words, wrongs + 1
            await self._check_ours(image_id)
            extra = {"action": "copy_given_up", "image_id": image_id, "status": image.status}
            words = f"{image.status}, but {wrong}" if image.status == "active" else image.status
            log.warning("image %s is %s; it is deleted, and made again", image_id, words, extra=extra)
            await self.delete(image_id)
            if wrongs == _MAX_WRONG:
                break
        raise WrongDataError(wrong or "the destination finished none of the images that were made there")

    async def delete(self, image_id: str) -> None:
        """Delete an image that bears our mark; anything else stays."""
        document = await self.cloud.image.data.get_document(image_id)
        if document is not None and document.get(MARKER) == self.marker:
            with suppress(NotFoundError):
                await send(lambda fence: self.cloud.image.delete_image(image_id, fence=fence), self.works)

    async def protect(self, image_id: str) -> None:
        """Let the service refuse to delete the image."""
        change = [{"op": "replace", "path": "/protected", "value": True}]
        await send(
            lambda fence: self.cloud.image.data.change_image(image_id, change, fence=fence), self.works
        )

    async def _created(self, image_id: str, content: Content) -> Image | None:
        """The queued image; None = its id was used up by one that is gone."""
        fields = {**content.fields, "id": image_id, "visibility": "private", MARKER: self.marker}
        try:
            await send(lambda fence: self.cloud.image.data.create_image(fields, fence=fence), self.works)
        except VolumeStateError:
            return await self._settled(image_id, unseen_for_s=UNSEEN_FOR_S)
        return Image(image_id=image_id, name="", status="queued")

    async def _upload(self, image_id: str, content: Content) -> Mapping[str, str] | None:
        """The digests of what was sent; None = nobody knows how it ended, a look tells."""
        async with self.slot():
            stream = Stream(
                content.open_from,
                size=content.size,
                algorithms=sorted({"sha512", *content.expected}),
                bandwidth=self.bandwidth,
                on_bytes=self.begin(),
            )
            try:
                async with stream, stream.stall.limit():
                    await send(
                        lambda fence: self.cloud.image.data.upload(
                            image_id, stream, size=content.size, fence=fence
                        ),
                        self.works,
                    )
                    return await stream.digests()
            except CloudError as error:
                self._note_doubt(image_id, stream, error)
                return None

    def _note_doubt(self, image_id: str, stream: Stream, error: CloudError) -> None:
        """Raises where the error of an upload tells what happened."""
        if stream.error is not None:
            raise stream.error from error  # the source is why
        if isinstance(error, NotFoundError):  # it was made a moment ago: a replica, or somebody else
            raise TransientError(f"the new image is not there (any more): {error}") from error
        if isinstance(error, TransientError):
            raise error
        if isinstance(error, RefusedError) and error.status != _CONFLICT:
            raise error
        extra = {"action": "upload_in_doubt", "image_id": image_id}
        log.info("the upload of %s got no good answer: %s", image_id, error, extra=extra)

    async def _settled(
        self, image_id: str, *, within_s: float = STUCK_AFTER_S, unseen_for_s: float = 0.0
    ) -> Image | None:
        """The image once it is not being written any more, or has been for too long; None = there is none."""
        waited = 0.0
        while True:
            image = await self.cloud.image.get_image(image_id)
            if image is None and waited >= unseen_for_s:
                return None
            if image is not None and (image.status not in _BEING_WRITTEN or waited >= within_s):
                return image
            await self.sleep(_LOOK_S)
            waited += _LOOK_S

    async def _check_ours(self, image_id: str) -> None:
        document = await self.cloud.image.data.get_document(image_id)
        if document is not None and document.get(MARKER) != self.marker:
            raise RefusedError(f"the image {image_id} there is not ours: it lacks our mark")


OnTurn = Callable[[int, str], Awaitable[None]]

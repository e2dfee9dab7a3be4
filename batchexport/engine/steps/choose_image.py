"""Choosing the id of the image before a temporary volume is exported, as an operation of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec.structs import replace

from batchexport.dialect import DialectName
from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.operations import perform
from batchexport.engine.ports import Cloud, Fence
from batchexport.engine.resources.kind import is_refused
from batchexport.errors import AuthenticationError, CloudError
from batchexport.model import ExportRequest, Job
from batchexport.store import Work

log = logging.getLogger(__name__)


class ImageChooser:
    """Asks for ids of images, for as long as the cloud is seen to honour them."""

    def __init__(self, cloud: Cloud, work: Work, ledger: Ledger) -> None:
        self._cloud = cloud
        self._work = work
        self._ledger = ledger
        self._is_refused = cloud.dialect.name is not DialectName.CINDER

    @property
    def is_on(self) -> bool:
        """Whether ids are asked for: until the cloud refused one, or gave an image another."""
        return not self._is_refused and self._ledger.chosen_images.is_honoured is not False

    async def choose(self, job: Job, request: ExportRequest, copy_name: str) -> ExportRequest:
        """The request, for which the copy now says what id its image is to have.

        Where that cannot be set the request goes without: its image is then found by its name. Raises
        AuthenticationError, and NotSentError where the lease may be lost or the run is stopping.
        """
        known = await self._work.images.known(job)
        chosen = self._ledger.chosen_images.next_for(copy_name, known.of_attempts)
        setting = _SetImageId(
            self._cloud, request.volume_id, chosen, may_send=lambda: not self._ledger.stopping.is_set()
        )
        await perform(setting, [self._work])
        if setting.error is None:
            return replace(request, image_id=chosen)
        extra = log_fields("image_id_not_chosen", job, image_id=chosen)
        log.info("volume %s: cannot choose its image's id (%s)", job.volume_id, setting.error, extra=extra)
        self._is_refused = self._is_refused or is_refused(setting.error)
        return request


class _SetImageId:
    """One request. Sent twice it does no harm, and it changes nothing but a copy of ours."""

    def __init__(self, cloud: Cloud, volume_id: str, image_id: str, *, may_send: Callable[[], bool]) -> None:
        self._cloud = cloud
        self._volume_id = volume_id
        self._image_id = image_id
        self.may_send = may_send
        self.error: CloudError | None = None

    async def record(self) -> None:
        """The copy is on disk as ours, and its name says which ids it may ask for."""

    async def send(self, fence: Fence) -> None:
        await self._cloud.copies.set_image_metadata(self._volume_id, {"id": self._image_id}, fence=fence)

    async def answered(self, answer: None) -> None:
        """Nothing to record."""

    async def failed(self, error: CloudError) -> None:
        if isinstance(error, AuthenticationError):
            raise error
        self.error = error

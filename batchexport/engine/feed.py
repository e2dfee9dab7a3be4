"""The images that turned active since the last look: one list, or by their ids where that costs less."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from batchexport.engine import decide
from batchexport.engine.ports import Cloud
from batchexport.errors import FatalError, RefusedError
from batchexport.model import Image, Job

log = logging.getLogger(__name__)


class ActiveFeed:
    """Reads on from where it was. It notices when the cloud does not heed what a list was asked for."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._since: float | None = None  # server time up to which active images were read
        self._surplus_pages = 0  # of the last list, where it held images that were not asked for
        self._lists_by_id = True  # as far as is known

    async def active(self, exporting: Mapping[str, Job]) -> AsyncIterator[Image]:
        """Active images, some of them of these exports (by image id). One may come twice, or not be ours."""
        by_id = self._lists_by_id and decide.by_id_is_cheaper(len(exporting), pages=self._surplus_pages)
        pages = self._by_id(list(exporting)) if by_id else self._since_last(exporting)
        async for page in pages:
            for image in page:
                if image.status == "active":
                    yield image

    async def _since_last(self, exporting: Mapping[str, Job]) -> AsyncIterator[Sequence[Image]]:
        since = self._since
        if since is None:
            since = min(job.intent_at or 0.0 for job in exporting.values()) - decide.CLOCK_MARGIN_S
        newest, pages, strayed = since, 0, False
        async for page in self._cloud.images(status="active", updated_since=since):
            pages += 1
            for image in page:
                updated_at = image.updated_at or 0.0
                newest = max(newest, updated_at)
                strayed = strayed or updated_at < int(since)
            yield page
        # Steps back a little each time: a record may become visible a moment after its time stamp.
        self._since = max(since, newest - decide.STAMP_MARGIN_S)
        if strayed and not self._surplus_pages:
            log.warning("the cloud does not list images by time: each look reads %d pages of them", pages)
        self._surplus_pages = pages if strayed else 0

    async def _by_id(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        wanted = set(image_ids)
        try:
            async for page in self._cloud.images_by_id(image_ids):
                if any(image.image_id not in wanted for image in page):
                    self._lists_by_id = False
                yield page
        except FatalError:
            raise
        except RefusedError as error:
            self._lists_by_id = False
            log.info("the cloud does not list images by their ids: %s", error)

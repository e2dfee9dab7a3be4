"""The images that turned active since the last look: one list, or by their ids where need be."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from batchexport.engine import decide
from batchexport.engine.ports import Cloud
from batchexport.engine.reads import Pause, Turns, is_signed_out
from batchexport.errors import CloudError, FatalError, RefusedError, UnreachableError
from batchexport.model import Image, Job

log = logging.getLogger(__name__)

#: So many images are read one by one in one look, where no list is to be had.
SINGLE_READS = 20
#: So many single reads in a row that come to nothing are the service's trouble and not the images'.
SINGLE_FAILURES = 3


class ActiveFeed:
    """Reads on from where it was. It notices when the cloud does not heed what a list was asked for, and
    when it does not give the list at all.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._since: float | None = None  # server time up to which active images were read
        self._surplus_pages = 0  # of the last list, where it held images that were not asked for
        self._lists_by_id = True  # as far as is known
        self._list_pause = Pause()  # of the list that failed
        self._turns = Turns()

    async def active(self, exporting: Mapping[str, Job]) -> AsyncIterator[Image]:
        """Active images, some of them of these exports (by image id). One may come twice, or not be ours.

        Raises CloudError only where no way to read them was left.
        """
        failure: CloudError | None = None
        for pages in self._ways(exporting):
            try:
                async for page in pages:
                    for image in page:
                        if image.status == "active":
                            yield image
                return
            except CloudError as error:
                if is_signed_out(error) or isinstance(error, UnreachableError):
                    raise
                if failure is None:
                    log.info("cannot list images (%s); trying another way", error)
                failure = error
        if failure is not None:
            raise failure

    async def by_ids(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        """Those of these images that are there, where the cloud lists them by their ids; else nothing."""
        if self._lists_by_id:
            async for page in self._by_id(image_ids):
                yield page

    def _ways(self, exporting: Mapping[str, Job]) -> Iterator[AsyncIterator[Sequence[Image]]]:
        """The ways to read them, the one that costs least first."""
        image_ids = list(exporting)
        listed = self._list_pause.is_over()
        by_id_first = self._lists_by_id and decide.by_id_is_cheaper(len(exporting), pages=self._surplus_pages)
        if listed and not by_id_first:
            yield self._since_last(exporting)
        if self._lists_by_id:
            yield self._by_id(image_ids)
        if listed and by_id_first:
            yield self._since_last(exporting)
        yield self._singly(self._turns.of(image_ids, SINGLE_READS))

    async def _since_last(self, exporting: Mapping[str, Job]) -> AsyncIterator[Sequence[Image]]:
        since = self._since
        if since is None:
            since = min(job.intent_at or 0.0 for job in exporting.values()) - decide.CLOCK_MARGIN_S
        newest, pages, strayed = since, 0, False
        try:
            async for page in self._cloud.images(status="active", updated_since=since):
                pages += 1
                for image in page:
                    updated_at = image.updated_at or 0.0
                    newest = max(newest, updated_at)
                    strayed = strayed or updated_at < int(since)
                yield page
        except CloudError:
            self._list_pause.failed()
            raise
        self._list_pause.worked()
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
        except FatalError:  # not about ids
            raise
        except RefusedError as error:
            self._lists_by_id = False
            log.info("the cloud does not list images by their ids: %s", error)
            raise

    async def _singly(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        failures = 0  # in a row
        for image_id in image_ids:
            try:
                image = await self._cloud.image(image_id)
            except CloudError:
                failures += 1
                if failures == min(SINGLE_FAILURES, len(image_ids)):
                    raise
                continue
            failures = 0
            if image is not None:
                yield [image]

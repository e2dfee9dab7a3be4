"""Polling the cloud: what to do while reads fail, whose turn it is, and which images have turned active."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeVar

from batchexport.engine import decide
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud
from batchexport.errors import (
    AuthenticationError,
    BatchExportError,
    CloudError,
    FatalError,
    RefusedError,
    RunStoppedError,
    UnreachableError,
)
from batchexport.log_level import NOTICE
from batchexport.model import Image, Job
from batchexport.retry import Backoff

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Polls refused for this long will not be answered any more: permissions or the credentials were revoked.
REFUSED_MAX_S = 900.0
#: A cloud that answers no poll for this long is given up for this run. An outage may last for hours.
AWAY_MAX_S = 6 * 3600.0
#: Between two refused polls …
REFUSED = Backoff(first_s=5.0, cap_s=300.0)
#: … and where the identity service refuses: failed sign-ins in a row lock an account.
SIGNED_OUT = Backoff(first_s=60.0, cap_s=300.0)
#: Images read one by one in one poll, where no list works.
SINGLE_READS = 20
#: This many failed single reads in a row are the service's trouble and not the images'.
SINGLE_FAILURES = 3


class PollHealth:
    """Counts the failed polls of one reader: how long to wait before the next, and when to give up.

    One refused or unanswered read ends nothing: another token, another node or another way to read may be
    all it takes.
    """

    def __init__(self, ledger: Ledger, *, purpose: str) -> None:
        self._ledger = ledger
        self._purpose = purpose  # for messages: "watch the exports"
        self._failures = 0  # polls in a row
        self._refusals = 0  # of these, the last ones in a row that were refused
        self._failing_since = self._refused_since = 0.0  # loop time
        self._partial_failures = Counter[str]()  # by kind of read, while other kinds worked

    def succeeded(self) -> None:
        """A poll was answered, at least in part."""
        if self._failures:
            log.log(NOTICE, "can %s again", self._purpose, extra={"action": "poll_recovered"})
        self._failures = self._refusals = 0

    def failed(self, error: CloudError) -> float:
        """No part of a poll was answered. Seconds to wait, beside the usual interval, before the next.

        After too long the run stops, and no longer waits for what is in progress.
        """
        loop_now = asyncio.get_running_loop().time()
        self._failing_since = self._failing_since if self._failures else loop_now
        self._failures += 1
        refused = isinstance(error, RefusedError)
        if refused:
            self._refused_since = self._refused_since if self._refusals else loop_now
        self._refusals = self._refusals + 1 if refused else 0
        if is_power_of_two(self._failures):  # an outage may last for hours
            extra = {"action": "poll_failed", "failures": self._failures}
            log.warning("cannot %s (%s); trying again", self._purpose, error, extra=extra)
        if refused and self._refusals > 1 and loop_now - self._refused_since >= REFUSED_MAX_S:
            self._give_up(error)
        elif (away_s := loop_now - self._failing_since) >= AWAY_MAX_S:
            reason = f"the cloud has answered no poll for {away_s / 3600:.0f} hours: {error}"
            self._give_up(RunStoppedError(reason, hint="run the same command again when it answers"))
        if is_signed_out(error):
            return SIGNED_OUT.delay_s(self._refusals)
        return REFUSED.delay_s(self._refusals) if refused else 0.0

    def failed_in_part(self, kind: str, error: CloudError) -> None:
        """This kind of read (for messages) failed; others remain. Raises `error` where all would fail."""
        if is_signed_out(error):
            raise error
        self._partial_failures[kind] += 1
        if is_power_of_two(self._partial_failures[kind]):
            extra = {"action": "read_failed", "kind": kind, "failures": self._partial_failures[kind]}
            log.warning("cannot read %s (%s); continuing without", kind, error, extra=extra)

    def _give_up(self, error: BatchExportError) -> None:
        self._ledger.polling_unavailable = True
        self._ledger.stop(error)


class PollBackoff:
    """Skips a kind of read that failed, for twice as many polls after each failure."""

    MAX_SKIPPED = 64

    def __init__(self) -> None:
        self._next = 4  # polls to skip after the next failure
        self._left = 0

    def is_due(self) -> bool:
        """Whether to try it in this poll."""
        self._left = max(0, self._left - 1)
        return self._left == 0

    def failed(self) -> None:
        """Skip some polls."""
        self._left = self._next
        self._next = min(2 * self._next, self.MAX_SKIPPED)

    def succeeded(self) -> None:
        """Skip none."""
        self._next, self._left = 4, 0


class RoundRobin:
    """Chooses which of many to read one by one in this poll: a few, and others in the next."""

    def __init__(self) -> None:
        self._from = 0

    def of(self, items: Sequence[T], count: int) -> Sequence[T]:
        """At most `count` of these."""
        if len(items) <= count:
            return items
        begin = self._from % len(items)
        self._from = begin + count
        return [*items[begin:], *items[:begin]][:count]


class ActiveImages:
    """Lists images that turned active since the last poll; by their ids, or one by one, where it has to.

    Notices when the cloud ignores the filters of a list, and when it does not give the list at all.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._since: float | None = None  # server time up to which active images were read
        self._surplus_pages = 0  # of the last list, where it held images that were not asked for
        self._lists_by_id = True  # as far as known
        self._list_backoff = PollBackoff()
        self._round_robin = RoundRobin()

    async def read(self, exporting: Mapping[str, Job]) -> AsyncIterator[Image]:
        """Active images, those of these exports (by image id) among them; with repeats and strangers.

        Raises CloudError only where every way to read them failed.
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
                    extra = {"action": "image_list_failed"}
                    log.info("cannot list images (%s); trying another way", error, extra=extra)
                failure = error
        if failure is not None:
            raise failure

    async def by_ids(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        """Those of these images that exist, where the cloud lists images by id; else nothing."""
        if self._lists_by_id:
            async for page in self._by_id(image_ids):
                yield page

    def _ways(self, exporting: Mapping[str, Job]) -> Iterator[AsyncIterator[Sequence[Image]]]:
        """The ways to read them, the cheapest first."""
        image_ids = list(exporting)
        listed = self._list_backoff.is_due()
        by_id_first = self._lists_by_id and decide.by_id_is_cheaper(len(exporting), pages=self._surplus_pages)
        if listed and not by_id_first:
            yield self._since_last(exporting)
        if self._lists_by_id:
            yield self._by_id(image_ids)
        if listed and by_id_first:
            yield self._since_last(exporting)
        yield self._one_by_one(self._round_robin.of(image_ids, SINGLE_READS))

    async def _since_last(self, exporting: Mapping[str, Job]) -> AsyncIterator[Sequence[Image]]:
        since = self._since
        if since is None:
            since = min(job.intent_at or 0.0 for job in exporting.values()) - decide.CLOCK_MARGIN_S
        newest, pages, is_unfiltered = since, 0, False
        try:
            async for page in self._cloud.image.images(status="active", updated_since=since):
                pages += 1
                for image in page:
                    updated_at = image.updated_at or 0.0
                    newest = max(newest, updated_at)
                    is_unfiltered = is_unfiltered or updated_at < int(since)
                yield page
        except CloudError:
            self._list_backoff.failed()
            raise
        self._list_backoff.succeeded()
        # Steps back a little each time: a record may become visible a moment after its time stamp.
        self._since = max(since, newest - decide.STAMP_MARGIN_S)
        if is_unfiltered and not self._surplus_pages:
            extra = {"action": "image_filter_ignored", "pages": pages}
            log.warning(
                "the cloud ignores the time filter of image lists: each poll reads %d pages",
                pages,
                extra=extra,
            )
        self._surplus_pages = pages if is_unfiltered else 0

    async def _by_id(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        wanted = set(image_ids)
        try:
            async for page in self._cloud.image.images_by_id(image_ids):
                if any(image.image_id not in wanted for image in page):
                    self._lists_by_id = False
                yield page
        except FatalError:  # not about ids
            raise
        except RefusedError as error:
            self._lists_by_id = False
            extra = {"action": "image_ids_refused"}
            log.info("the cloud does not list images by their ids: %s", error, extra=extra)
            raise

    async def _one_by_one(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        failures = 0  # in a row
        for image_id in image_ids:
            try:
                image = await self._cloud.image.get_image(image_id)
            except CloudError:
                failures += 1
                if failures == min(SINGLE_FAILURES, len(image_ids)):
                    raise
                continue
            failures = 0
            if image is not None:
                yield [image]


def is_signed_out(error: CloudError) -> bool:
    """Whether the identity service itself refused the sign-in: every other request would be refused, too."""
    return isinstance(error, AuthenticationError) and not error.method


def is_power_of_two(count: int) -> bool:
    """For warnings at the 1st, 2nd, 4th, 8th … time."""
    return count & (count - 1) == 0

"""Labels: properties and tags of images that are complete, looked at, set and looked at again.

The row of an image that waits for its labels is still `exporting` on disk: the next process goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from batchexport.config import Settings
from batchexport.dialect import Dialect
from batchexport.engine.decide import COMPLETE_STATUSES
from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.operations import NotSentError, perform
from batchexport.engine.ports import Cloud
from batchexport.engine.steps.label_image import LabelImage
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    NotFoundError,
    RefusedError,
    StateError,
    VolumeStateError,
)
from batchexport.image_labels import LabelledImage, Labels, source_properties
from batchexport.model import Ending, ImageOptions, Job
from batchexport.store import StoreRef, Work, stores

log = logging.getLogger(__name__)

#: Code of rows whose image is complete, and has not the labels that were asked for.
NOT_LABELLED = "labels_not_set"
#: Between two looks, where the first after a request did not show the labels; doubled up to the longest.
LOOK_S, MAX_LOOK_S = 5.0, 60.0
#: How long to try. Where a server is down for the row, it waits for this.
WITHIN_S, WITHIN_DOWN_S = 900.0, 60.0
#: Refusals that one node or one moment may be wrong about.
MAY_PASS = (AuthenticationError, NotFoundError, VolumeStateError)


class Labelling(msgspec.Struct):
    """A job whose image gets its labels."""

    wanted: Labels
    since: float  #: loop time
    sent: int = 0  #: requests so far
    error: CloudError | None = None  #: of the last request or look
    is_refused: bool = False  #: and will be again


class Labeller:
    """Sets the labels of the images of one target, as soon as each is complete."""

    def __init__(self, cloud: Cloud, work: Work, ledger: Ledger, settings: Settings) -> None:
        self._cloud = cloud
        self._works = [work]
        self._run_id = work.run.run_id
        self._path = work.path
        self._ledger = ledger
        self._image = settings.image
        self._labelling: dict[str, Labelling] = {}  # by image id
        self._is_told = False  # that tags are left out
        ledger.wants_labels = self.are_wanted

    def are_wanted(self, job: Job) -> bool:
        """Whether anything is to be set on the image of this job that its cloud can set."""
        options = job.options.over(self._image)
        return options.has_labels and bool(labels_of(options, self._cloud.dialect) or is_provenance(options))

    async def run(self) -> None:
        """Label for ever; the caller cancels it when nothing is left to watch."""
        while True:
            await self._ledger.labelable.wait()
            self._ledger.labelable.clear()
            pause_s = LOOK_S
            while self._ledger.to_label:
                if await self._look():
                    pause_s = LOOK_S
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, MAX_LOOK_S)

    async def _look(self) -> bool:
        """One look at the images that wait; whether the next one may show something new at once."""
        await self._begin([job for job, _ in self._ledger.to_label.values()])
        jobs = [job for job, _ in self._ledger.to_label.values() if job.image_id in self._labelling]
        image_ids = [job.image_id for job in jobs if job.image_id is not None]
        try:
            found = await self._cloud.image.labels.labelled(image_ids)
        except CloudError as error:
            for image_id in image_ids:
                self._labelling[image_id].error = error
            found = {}
        sending = [job for job in jobs if not self._is_done(job, found)]
        is_first = any(self._labelling[job.image_id or ""].sent == 0 for job in sending)
        sent = await asyncio.gather(*(self._send(job, found) for job in sending))
        return (is_first and any(sent)) or len(sending) < len(jobs)

    async def _begin(self, jobs: Sequence[Job]) -> None:
        """Find out what is to be set on the images that are new here, and forget those that left."""
        image_ids = {job.image_id for job in jobs}
        for image_id in set(self._labelling).difference(image_ids):
            del self._labelling[image_id]
        new = [job for job in jobs if job.image_id not in self._labelling]
        told = [job for job in new if is_provenance(job.options.over(self._image))]
        sources = await asyncio.to_thread(_sources, self._path, told, self._run_id) if told else {}
        since = asyncio.get_running_loop().time()
        for job in new:
            options = job.options.over(self._image)
            wanted = labels_of(options, self._cloud.dialect)
            if len(wanted.tags) < len(options.tags or ()) and not self._is_told:
                self._is_told = True
                message = "tags are not set: clouds of the family %s take none; set properties instead"
                log.warning(message, self._cloud.dialect.name, extra={"action": "tags_dropped"})
            properties = {**sources.get(job.job_id, {}), **wanted.properties}
            self._labelling[job.image_id or ""] = Labelling(replace(wanted, properties=properties), since)

    def _is_done(self, job: Job, found: Mapping[str, LabelledImage]) -> bool:
        """Whether the job has ended: its image has the labels, or is not going to have them."""
        state, entry = self._labelling[job.image_id or ""], self._ledger.to_label.get(job.job_id)
        if entry is None or entry[0].image_id != job.image_id:
            return True
        ending = entry[1]
        image = found.get(job.image_id or "")
        if image is not None and not state.wanted.lacking_in(image.labels):
            self._end(job, ending)
            return True
        waited_s = asyncio.get_running_loop().time() - state.since
        limit_s = WITHIN_DOWN_S if job.job_id in self._ledger.with_resources else WITHIN_S
        if not state.is_refused and waited_s < limit_s:
            return False
        why = "the cloud does not show them" if state.error is None else str(state.error)
        reason = f"{ending.reason}, but its properties and tags are not set: {why}"
        extra = log_fields(NOT_LABELLED, job, image_id=job.image_id)
        log.warning("volume %s: %s", job.volume_id, reason, extra=extra)
        self._end(job, replace(ending, reason=reason, code=ending.code or NOT_LABELLED))
        return True

    def _end(self, job: Job, ending: Ending) -> None:
        self._labelling.pop(job.image_id or "", None)
        self._ledger.labelled(job.job_id, ending)

    async def _send(self, job: Job, found: Mapping[str, LabelledImage]) -> bool:
        """Set what the image lacks, once it is certainly not being written; whether a request was sent."""
        image, state = found.get(job.image_id or ""), self._labelling[job.image_id or ""]
        if image is None or image.status not in COMPLETE_STATUSES:
            return False
        operation = LabelImage(self._cloud, job.image_id or "", state.wanted.lacking_in(image.labels))
        try:
            await perform(operation, self._works)
        except NotSentError:
            return False
        state.sent += 1
        error = state.error = operation.error
        state.is_refused = isinstance(error, RefusedError) and not isinstance(error, MAY_PASS)
        return True


def is_provenance(options: ImageOptions) -> bool:
    """Whether the image is to say what it was made of: unless told not to, where a request is sent anyway."""
    if options.provenance is not None:
        return options.provenance
    return options.has_labels


def labels_of(options: ImageOptions, dialect: Dialect) -> Labels:
    """The labels that are asked for and that this family of clouds takes."""
    tags = options.tags or () if dialect.takes_tags else ()
    return Labels(properties=dict(options.properties or ()), tags=tags)


def _sources(path: StoreRef, jobs: Sequence[Job], run_id: str) -> Mapping[int, Mapping[str, str]]:
    """What the images of these jobs were made of, by job id."""
    lines: dict[int, int] = {}
    names: dict[str, str] = {}
    try:
        with stores.read(path) as reader:
            lines = {each.job_id: each.line for each in reader.jobs(job_ids=[job.job_id for job in jobs])}
            names = reader.volume_names([job.volume_id for job in jobs])
    except StateError as error:
        log.warning("cannot read the names of volumes (%s)", error, extra={"action": "names_unread"})
    return {
        job.job_id: source_properties(
            volume_id=job.volume_id,
            volume_name=names.get(job.volume_id),
            run_id=run_id,
            line=lines.get(job.job_id),
        )
        for job in jobs
    }

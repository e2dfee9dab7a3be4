"""Images that a volume may have already: checked before any request that could make a second one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Sequence

import msgspec

from batchexport.changes import ImagesNamed, NameLookedUp, NamesListed
from batchexport.engine import decide
from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.operations import perform
from batchexport.engine.ports import Cloud
from batchexport.engine.steps.delete_image import DeleteImage, Record
from batchexport.errors import CloudError, RefusedError
from batchexport.model import Ending, Image, Job
from batchexport.store import Work

log = logging.getLogger(__name__)


#: How far the clocks of this machine and of the cloud may differ for a restored state file to be noticed.
UNNOTICED_MARGIN_S = 86_400.0

#: What becomes of a job for which no request may be sent now.
Prevented = decide.Adopt | decide.Ambiguous | decide.Retry


class Prior(msgspec.Struct, frozen=True, kw_only=True):
    """The images that were found for a job."""

    live: Sequence[Image] = ()  #: of its own earlier attempts: complete, or may still become complete
    named: Sequence[Image] = ()  #: others of its name that could be its own
    orphaned: Sequence[Image] = ()  #: of its own attempts, given up as unfinished: they must go first
    proved: bool = False  #: nobody else's can be among `named`

    @property
    def found(self) -> list[Image]:
        """All that could be the job's result."""
        return [*self.live, *self.named]

    @property
    def is_proved(self) -> bool:
        """Whether all of them are the job's own."""
        return self.proved or not self.named


class Existing(msgspec.Struct, frozen=True, kw_only=True):
    """What the images that exist say of jobs for which nothing was sent, as far as the state file knows.

    All of these are `submitting` now.
    """

    #: A name that contains the id of the run proves a request: these are in doubt.
    unnoticed: Sequence[Job] = ()
    #: An image of this id came since all images were listed: nothing tells whose it is.
    appeared: Sequence[tuple[Job, str]] = ()


class PriorImages:
    """Looks for the images of a job, by id and by name, and notes those that are not its own."""

    def __init__(self, cloud: Cloud, work: Work, ledger: Ledger | None = None) -> None:
        """`ledger`: of a run, which knows the ids that were chosen for images; None = of no run."""
        self._ledger = ledger
        self._cloud = cloud
        self._work = work
        self._run_id = work.run.run_id
        self._last_listed = 0

    async def list_existing(self, *, list_all: bool) -> Existing:
        """List the images that exist; the jobs that were sent, or may have been, though the state file does
        not know it: it may have been restored from a backup.

        With `list_all`, where other names are to be sent, every image of the project is listed, and those
        with such a name are noted: an image that appears later is the job's own. Without, or where the list
        cannot be read, each of these names is looked up before the first request for it.
        """
        listing = await self._work.images.listing(run_id=self._run_id)
        list_all = list_all and listing.any_unlisted
        since = None if list_all else self._work.run.created_at - UNNOTICED_MARGIN_S
        unnoticed: list[Job] = []
        appeared: list[tuple[Job, str]] = []
        try:
            async for page in self._cloud.image.images(created_since=since):
                server_now_s = self._cloud.server_now_s()  # by the clock that this answer tells
                if names := [image.name for image in page if self._run_id in image.name]:
                    unnoticed += await self._work.images.claim_named(names, server_now_s=server_now_s)
                if listing.any_listed:
                    named = {each.name: each.image_id for each in decide.alive(page)}
                    jobs = await self._work.images.claim_appeared([*named.items()], server_now_s=server_now_s)
                    appeared += [(job, named[job.image_name]) for job in jobs]
                if list_all:
                    await self._work.commit(ImagesNamed([(image.name, image.image_id) for image in page]))
        except CloudError as error:
            extra = {"action": "image_list_failed"}
            log.warning("cannot list the existing images (%s); continuing without", error, extra=extra)
        else:
            if list_all or not listing.any_unlisted:
                await self._work.commit(NamesListed())
        self._last_listed = (await self._work.images.listing(run_id=self._run_id)).last_job_id
        return Existing(unnoticed=unnoticed, appeared=appeared)

    def is_wanted(self, job: Job) -> bool:
        """Whether the job's images have to be checked before a request for it."""
        if decide.may_have_been_sent(job):
            return True
        return self._run_id not in job.image_name and job.job_id > self._last_listed

    async def look(self, job: Job, *, named: Sequence[Image] | None = None) -> Prior:
        """What exists now. `named`: the images of the job's name, where they were read already."""
        known = await self._work.images.known(job)
        if named is None:
            named = await self._cloud.image.images_named(job.image_name)
        for earlier in known.earlier_names - {job.image_name}:
            named = [*named, *await self._cloud.image.images_named(earlier)]
        by_name = {image.image_id: image for image in named}
        live: list[Image] = []
        orphaned: list[Image] = []
        for image_id, code in known.of_attempts.items():
            image = _better(await self._cloud.image.get_image(image_id), by_name.get(image_id))
            if image is None or image.status in decide.DEAD_STATUSES:
                continue
            given_up = code == decide.ORPHANED and image.status not in decide.COMPLETE_STATUSES
            (orphaned if given_up else live).append(image)
        chosen = await self._chosen(job, known.of_attempts)
        live += chosen.values()
        names = known.earlier_names | {job.image_name}
        not_ours = known.before | known.of_attempts.keys() | chosen.keys()
        candidates = decide.candidates(named, names, not_ours=not_ours)
        if chosen:  # the image of this id is the job's own: others only have its name
            candidates = [image for image in candidates if self._run_id in (image.name or "")]
        proved = known.complete or all(self._run_id in name for name in names)
        return Prior(live=live, named=candidates, orphaned=orphaned, proved=proved)

    async def _chosen(self, job: Job, used: Container[str]) -> dict[str, Image]:
        """The images, by id, whose ids we chose, and of which no answer told."""
        subject = self._ledger.subjects.get(job.job_id) if self._ledger else None
        if self._ledger is None or subject is None or subject.copy_name is None:
            return {}
        found = {}
        for image_id in self._ledger.chosen_images.of(subject.copy_name, used):
            image = await self._cloud.image.get_image(image_id)
            if image is not None and image.status not in decide.DEAD_STATUSES:
                found[image_id] = image
        return found

    async def clear(self, job: Job, *, is_stopping: Callable[[], bool]) -> Prevented | None:
        """Make sure that no image of the job lives; None = a request for it may be sent.

        An unfinished image of an attempt that was given up is deleted: nothing is sent while it might still
        become a second image. Raises CloudError where images cannot be read, NotSentError where the lease may
        be lost or the run is stopping.
        """
        prior = await self.look(job)
        found = decide.alive(prior.found)
        if len(found) > 1:
            return decide.Ambiguous(decide.several(found))
        if prior.live:
            return decide.Adopt(prior.live[0])
        if found and not decide.may_have_been_sent(job) and self._run_id not in job.image_name:
            if prior.proved:  # they came since the name was looked for
                return decide.Ambiguous(decide.appeared(found[0].image_id))
            found = []  # no request was ever sent for it: they are not its own
        if found:
            return decide.Adopt(found[0]) if prior.proved else decide.Ambiguous(decide.unproved(found[0]))
        for image in prior.orphaned:
            if (failure := await self._discard(job, image, is_stopping)) is not None:
                return failure
        if not prior.proved:
            await self._work.commit(NameLookedUp(job, [image.image_id for image in prior.named]))
        return None

    async def _discard(self, job: Job, image: Image, is_stopping: Callable[[], bool]) -> decide.Retry | None:
        """Delete an unfinished image of an earlier attempt; else why to try again later."""
        extra = log_fields("image_deleting", job, image_id=image.image_id)
        log.info("volume %s: deleting its unfinished image %s", job.volume_id, image.image_id, extra=extra)
        deletion = DeleteImage(
            self._cloud,
            image.image_id,
            [Record(self._work, job.job_id)],
            run_id=self._run_id,
            why=f"{image.status} after an attempt that was given up",
            now=time.time,
            may_send=lambda: not is_stopping(),
        )
        await perform(deletion, [self._work])
        if isinstance(error := deletion.error, RefusedError):
            # One node, or one moment, may be wrong: the attempts are counted.
            note = f"unfinished image {image.image_id} of an earlier attempt cannot be deleted"
            return decide.Retry(decide.ending_of(error, note))
        if error is not None:
            raise error
        # By its id and by its name: a gateway without a back end answers 404 to anything.
        named = {each.image_id: each for each in await self._cloud.image.images_named(image.name)}
        left = await self._cloud.image.get_image(image.image_id) or named.get(image.image_id)
        if left is None or left.status in decide.DEAD_STATUSES:
            return None
        reason = f"image {left.image_id} of an earlier attempt was deleted, and is still {left.status}"
        return decide.Retry(Ending(reason=reason, code=decide.ORPHANED))


def _better(by_id: Image | None, by_name: Image | None) -> Image | None:
    """Of two reads of one image the one that shows it complete: the other may be behind."""
    for image in (by_id, by_name):
        if image is not None and image.status in decide.COMPLETE_STATUSES:
            return image
    return by_id or by_name

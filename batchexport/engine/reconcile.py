"""Reconciling ambiguous jobs: those of which the cloud now shows what became of them are settled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import assert_never

import msgspec

from batchexport.changes import ImagesDisowned, Reopened, Started
from batchexport.engine import decide
from batchexport.engine.ledger import log_fields
from batchexport.engine.ports import Cloud
from batchexport.engine.prior_images import PriorImages
from batchexport.errors import AuthenticationError, CloudError, UnreachableError
from batchexport.model import Accepted, Job, JobState
from batchexport.store import Work

log = logging.getLogger(__name__)


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one ambiguous job."""

    job: Job
    state: JobState  #: now
    reason: str


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of images, by their ids."""

    ours: frozenset[str] = frozenset()  #: made by this run
    not_ours: frozenset[str] = frozenset()  #: made by somebody else


async def reconcile(
    cloud: Cloud,
    work: Work,
    claims: Claims,
    *,
    settle_s: float,
    now: Callable[[], float] = time.time,
) -> list[Reconciled]:
    """Look at each ambiguous job of a target. Sends nothing that changes the cloud.

    Where no image is left, it is looked at again after `settle_s`: one look does not prove that none is.
    """
    prior = PriorImages(cloud, work)
    jobs = await work.jobs_in(JobState.AMBIGUOUS)
    for job in jobs:
        await work.commit(ImagesDisowned(job, list(claims.not_ours)))
    results = {
        job.job_id: await _look(cloud, prior, job, claims, clear_for_s=None, settle_s=settle_s)
        for job in jobs
    }
    if clear := [job for job in jobs if results[job.job_id] is None]:
        await asyncio.sleep(settle_s)
        for job in clear:
            results[job.job_id] = await _look(
                cloud, prior, job, claims, clear_for_s=settle_s, settle_s=settle_s
            )
    reconciled = [_apply(work, job, verdict, now()) for job in jobs if (verdict := results[job.job_id])]
    await work.flush()
    return reconciled


async def _look(
    cloud: Cloud,
    prior: PriorImages,
    job: Job,
    claims: Claims,
    *,
    clear_for_s: float | None,
    settle_s: float,
) -> decide.Adopt | decide.Ambiguous | decide.Retry | None:
    """What the cloud shows; None = no image, for the first time. What cannot be read stays ambiguous."""
    try:
        volume = await cloud.block_storage.get_volume(job.volume_id)
        found = await prior.look(job)
    except CloudError as error:
        if isinstance(error, (AuthenticationError, UnreachableError)):
            raise
        extra = log_fields("volume_unreadable", job)
        log.warning("volume %s: cannot read it (%s)", job.volume_id, error, extra=extra)
        return decide.Ambiguous(decide.ending_of(error, "cannot read it"))
    uploading = volume is not None and volume.status == "uploading"
    if len(ours := [image for image in found.found if image.image_id in claims.ours]) == 1:
        return decide.Adopt(ours[0])
    if clear_for_s is None and not uploading and not decide.alive(found.found):
        return None
    return decide.reconcile(
        found.found,
        proved=found.is_proved,
        uploading=uploading,
        clear_for_s=clear_for_s,
        settle_s=settle_s,
    )


def _apply(
    work: Work,
    job: Job,
    verdict: decide.Adopt | decide.Ambiguous | decide.Retry,
    at_s: float,
) -> Reconciled:
    match verdict:
        case decide.Adopt(image):
            accepted = Accepted(image_id=image.image_id, size_gib=job.size_gib, request_id=None)
            deadline_at = at_s + decide.deadline_s(job.size_gib, job.options.timeout_s)
            work.apply(
                Started.by(job, accepted, at_s=at_s, deadline_at=deadline_at, before=JobState.AMBIGUOUS)
            )
            reason = f"adopted image {image.image_id}, which is {image.status}"
            return Reconciled(job=job, state=JobState.EXPORTING, reason=reason)
        case decide.Retry(ending):
            work.apply(Reopened(job=job))
            return Reconciled(job=job, state=JobState.PENDING, reason=ending.reason)
        case decide.Ambiguous(ending):
            return Reconciled(job=job, state=JobState.AMBIGUOUS, reason=ending.reason)
    assert_never(verdict)

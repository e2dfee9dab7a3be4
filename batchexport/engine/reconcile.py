"""Ambiguous jobs, looked at again: settled where the cloud has become clear, else left as they are."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from batchexport.engine import decide
from batchexport.engine.ports import Cloud
from batchexport.model import Accepted, Job, JobState
from batchexport.store import Lease, StateFile


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found of one ambiguous job."""

    job: Job
    state: JobState  #: now
    words: str


async def reconcile(
    cloud: Cloud, state: StateFile, lease: Lease, *, now: Callable[[], float] = time.time
) -> list[Reconciled]:
    """Look once at each ambiguous job of a target. Sends nothing that changes the cloud."""
    results = []
    for job in await state.ambiguous(lease):
        volume = await cloud.volume(job.volume_id)
        images = await cloud.images_named(job.image_name)
        ours = decide.candidates(
            images, job, await state.earlier_image_ids(job.job_id), run_id=state.run.run_id
        )
        uploading = volume is not None and volume.status == "uploading"
        match decide.reconcile(ours, uploading=uploading):
            case decide.Adopt(image):
                accepted = Accepted(image_id=image.image_id, size_gib=job.size_gib, request_id=None)
                at = now()
                deadline_at = at + decide.deadline_s(job.size_gib, job.options.timeout_s)
                state.accepted(lease, job, accepted, at_s=at, deadline_at=deadline_at)
                words = f"adopted image {image.image_id}, which is {image.status}"
                results.append(Reconciled(job=job, state=JobState.EXPORTING, words=words))
            case decide.Again(ending):
                state.reopen(lease, job)
                results.append(Reconciled(job=job, state=JobState.PENDING, words=ending.reason))
            case decide.Ambiguous(ending):
                results.append(Reconciled(job=job, state=JobState.AMBIGUOUS, words=ending.reason))
    await state.flush()
    return results

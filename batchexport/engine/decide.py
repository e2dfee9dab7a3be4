"""The engine's decisions. Plain functions on plain values: no clock, no I/O, no await."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import assert_never

import msgspec
from msgspec.structs import replace

from batchexport.config import InUse
from batchexport.errors import CloudError
from batchexport.model import PASSING_STATUSES, Ending, ExportRequest, Image, ImageOptions, Job, Volume
from batchexport.plan import check_image, is_size_verified

#: An image in one of these can no longer become active.
DEAD_STATUSES = frozenset({"killed", "deleted", "pending_delete"})
#: An image in one of these holds all its data.
COMPLETE_STATUSES = frozenset({"active", "deactivated"})
#: What a read does not show may be behind a replica, on a page that shifted or at a gateway without a back
#: end. It counts as absent when every poll missed it for a minute and a second per GiB, ten minutes at most.
ABSENT_BASE_S, ABSENT_PER_GIB_S, ABSENT_MAX_S = 60.0, 1.0, 600.0
#: An unfinished image whose volume is free has lost its writer when it has not changed for five minutes and
#: five seconds for each GiB, the time in which a slow back end hashes it. One that is being written or
#: imported is given until the deadline of its export as well: Glance finishes some images by itself, after
#: Cinder has let go of the volume.
ORPHAN_BASE_S, ORPHAN_PER_GIB_S = 300.0, 5.0
#: Code of attempts whose image stayed unfinished: it is deleted before another attempt.
ORPHANED = "image_orphaned"
#: Code of exports given up without progress. Their volumes may stay uploading for ever.
STUCK = "export_stuck"
#: A stuck export is one whose image has not changed for this share of its deadline, and some seconds.
STUCK_SHARE, STUCK_MIN_S = 0.25, 10.0
#: Image times are cut to a second, and a record may become visible a moment after its time.
STAMP_MARGIN_S = 2.0
#: The clocks of a cloud's services and of its gateway differ; what is older than an intent by more than this
#: cannot be its result.
CLOCK_MARGIN_S = 60.0
#: Why a row fails whose volume does not become free.
STUCK_REASON = (
    "the volume has been uploading for longer than an export takes, and no image of this run appears: it is"
    " exported by somebody else, or its service crashed. Once that ends, or an administrator has reset the"
    " volume (`openstack volume set --state available VOLUME`), `batchexport retry` exports it"
)
#: Code of rows whose export was refused although force was set.
FORCE_IGNORED = "force_ignored"
#: Ids that the client puts in one request.
IDS_PER_REQUEST = 90
#: 30 minutes and 1.5 minutes for each GiB (12 MB/s), never less than an hour.
DEADLINE_BASE_S, DEADLINE_PER_GIB_S, DEADLINE_MIN_S = 1800.0, 90.0, 3600.0
#: A volume of unknown size is given the time of the largest that EVS exports, 1 TiB.
UNKNOWN_SIZE_GIB = 1024


#: Why a job succeeded whose image may have any size, for all that the cloud tells.
SIZE_UNVERIFIED = "active; size unverified: the cloud tells none to compare"


class Wait(msgspec.Struct, frozen=True):
    """Not known yet: poll again."""


class Adopt(msgspec.Struct, frozen=True):
    """This image is ours: watch it."""

    image: Image


class Ambiguous(msgspec.Struct, frozen=True):
    """Which image is ours cannot be told: a person decides."""

    ending: Ending


class Retry(msgspec.Struct, frozen=True):
    """The attempt made no image; another may succeed."""

    ending: Ending


class InDoubt(msgspec.Struct, frozen=True):
    """The volume is being exported, perhaps by an earlier request of ours: settle that first."""


class Hold(msgspec.Struct, frozen=True):
    """The volume is in use: wait until its servers are down."""


class Fail(msgspec.Struct, frozen=True):
    """No image, and another attempt would fail the same way."""

    ending: Ending


class Skip(msgspec.Struct, frozen=True):
    """Skipped, as the settings say."""

    ending: Ending


class Succeed(msgspec.Struct, frozen=True):
    """The image is complete. `ending` says where it differs from what was asked for."""

    ending: Ending


def settle(
    images: Sequence[Image],
    *,
    proved: bool,
    uploading: bool,
    missing: bool,
    clear_for_s: float | None,
    settle_s: float,
    overdue: bool,
) -> Adopt | Ambiguous | Retry | Fail | Wait:
    """What became of a request that got no response.

    `images`: those that could be its result, read after the volume; `proved`: nobody else's can be among
    them. `clear_for_s`: for how long every poll showed the volume free, or missing, and no such image; None =
    the last poll did not. `overdue`: an export would be past its deadline by now.
    """
    if len(images) > 1:
        return Ambiguous(several(images))
    if images:
        return Adopt(images[0]) if proved else Ambiguous(unproved(images[0]))
    if uploading and overdue:
        return Fail(Ending(reason=STUCK_REASON, code="volume_uploading"))
    if uploading or clear_for_s is None or clear_for_s < settle_s:
        return Wait()
    if missing:
        return Fail(Ending(reason="the cloud has no such volume", code="volume_not_found", status=404))
    return Retry(Ending(reason="the request was lost before the cloud acted on it", code="not_sent"))


def several(images: Sequence[Image]) -> Ending:
    """The ending of a job with several images."""
    listed = ", ".join(image.image_id for image in images)
    return Ending(reason=f"several images could be the result: {listed}", code="ambiguous")


def unproved(image: Image) -> Ending:
    """The ending of a job with an image that may be somebody else's."""
    reason = f"image {image.image_id} has this name, but nothing proves that this run made it"
    return Ending(reason=reason, code="ambiguous")


def appeared(image_id: str) -> Ending:
    """The ending of a job that was not sent, as far as we know, and whose name an image has by now."""
    reason = (
        f"image {image_id} has got this name since the run began, though nothing was sent for the row: the"
        " state file is an older copy, or somebody else uses the name"
    )
    return Ending(reason=reason, code="ambiguous")


def reconcile(
    images: Sequence[Image], *, proved: bool, uploading: bool, clear_for_s: float | None, settle_s: float
) -> Adopt | Ambiguous | Retry:
    """What became of an ambiguous job, after somebody may have cleaned up in the cloud.

    The arguments are those of `settle`.
    """
    left = alive(images)
    if len(left) == 1:
        return Adopt(left[0]) if proved else Ambiguous(unproved(left[0]))
    if left:
        return Ambiguous(several(left))
    if uploading or clear_for_s is None or clear_for_s < settle_s:
        reason = "no image yet, and the volume is uploading"
        if not uploading:
            reason = "no image could be the result, but not for long enough to be certain"
        return Ambiguous(Ending(reason=reason, code="ambiguous"))
    return Retry(Ending(reason="all images that could be the result were removed", code="removed"))


def alive(images: Sequence[Image]) -> list[Image]:
    """Those of these images that are complete or may still become complete."""
    return [image for image in images if image.status not in DEAD_STATUSES]


def candidates(images: Sequence[Image], names: Container[str], *, not_ours: Container[str]) -> list[Image]:
    """The images that could be a job's: those of its `names` without those known to be others'.

    Times are not compared: the clocks of a cloud's services and hosts differ, jump and drift.
    """
    return [image for image in images if image.name in names and image.image_id not in not_ours]


def may_have_been_sent(job: Job) -> bool:
    """Whether a request for the job may have reached the cloud before the current attempt."""
    return job.attempt > 1 or job.first_intent_at != job.intent_at


def refused_for_status(
    error: CloudError, volume: Volume | None, *, in_use: InUse, forced: bool
) -> InDoubt | Retry | Hold | Fail | Skip:
    """What to do with a job that the cloud rejected because of its volume's status."""
    if volume is None or volume.status in ("uploading", "available"):
        # It is available now and was not: perhaps because of an export of ours that has just ended. A volume
        # that has a status exists: where it is not found, a replica may lag.
        return InDoubt()
    ending = ending_of(error, f"the volume is {volume.status}")
    if volume.status == "in-use":
        return _refused_in_use(ending, in_use=in_use, forced=forced)
    if volume.status in PASSING_STATUSES:
        return Retry(ending)
    return Fail(ending)


def _refused_in_use(ending: Ending, *, in_use: InUse, forced: bool) -> Hold | Fail | Skip:
    if forced:
        why = "the cloud does not honour force for volumes in use; stop the server and detach the volume"
        return Fail(_because(ending, why, FORCE_IGNORED))
    match in_use:
        case InUse.STOP | InUse.SNAPSHOT:
            return Hold()
        case InUse.SKIP:
            return Skip(_because(ending, "it is attached to a server", "in_use"))
        case InUse.FAIL | InUse.FORCE:
            why = "it is attached to a server; detach it, or see --in-use"
            return Fail(_because(ending, why, "in_use"))
    assert_never(in_use)


def verdict(
    image: Image | None, *, unchanged_s: float, size_gib: int | None, overdue: bool
) -> Succeed | Retry | Wait:
    """What became of an export whose volume is no longer uploading.

    The image was read after the volume. `unchanged_s`: for how long every poll has shown the volume free and
    the image exactly as it is now: missing (None), or of this status, size and time of change. `overdue`: the
    export is past its deadline.
    """
    if image is None:
        if unchanged_s < absent_after_s(size_gib):
            return Wait()
        return Retry(Ending(reason="the export failed: the cloud removed the image", code="image_gone"))
    if image.status == "active":
        return Succeed(Ending(reason="active"))
    if image.status == "deactivated":
        return Succeed(Ending(reason="the image is complete but was deactivated", code="deactivated"))
    if image.status in DEAD_STATUSES:
        return Retry(Ending(reason=f"the export failed: the image is {image.status}", code="image_dead"))
    if unchanged_s < orphan_after_s(size_gib) or not (image.status == "queued" or overdue):
        return Wait()
    reason = f"the export failed: the image stayed {image.status} although the volume is free"
    return Retry(Ending(reason=reason, code=ORPHANED))


def absent_after_s(size_gib: int | None) -> float:
    """Seconds for which every poll must miss something before it counts as absent."""
    size = UNKNOWN_SIZE_GIB if size_gib is None else size_gib
    return min(ABSENT_MAX_S, ABSENT_BASE_S + ABSENT_PER_GIB_S * size)


def orphan_after_s(size_gib: int | None) -> float:
    """Seconds without a change after which an unfinished image has lost its writer."""
    size = UNKNOWN_SIZE_GIB if size_gib is None else size_gib
    return ORPHAN_BASE_S + ORPHAN_PER_GIB_S * size


def finished(image: Image, job: Job, asked: ImageOptions) -> Ending:
    """How an export ends whose image is active: with its hash, and where it differs from the request.

    Where nothing tells whether the image is as large as it must be, the reason says so.
    """
    options = job.options.over(asked)
    mismatches = check_image(image, options=options, size_gib=job.size_gib, name=job.image_name)
    image_hash = image.details.hash if image.details else None
    if not mismatches:
        is_verified = is_size_verified(image, job.size_gib)
        return Ending(reason="active" if is_verified else SIZE_UNVERIFIED, image_hash=image_hash)
    differences = "; ".join(finding.words for finding in mismatches)
    return Ending(reason=f"active, but {differences}", code=mismatches[0].code, image_hash=image_hash)


def stuck_after_s(job: Job) -> float:
    """Seconds without a change of its image after which an export past its deadline is stuck."""
    allowed_s = (job.deadline_at or 0.0) - (job.accepted_at or 0.0)
    return max(STUCK_MIN_S, STUCK_SHARE * allowed_s)


def stuck(job: Job, image: Image | None, *, is_read: bool, is_uploading: bool | None) -> Ending:
    """How an export ends that is past its deadline and makes no progress, with what to do about it.

    `is_read`: the image could be read; `image` is None where it is gone. `is_uploading`: the volume was, when
    last seen; None = it cannot be read.
    """
    if not is_read:
        seen = f"image {job.image_id} cannot be read"
    elif image is None:
        seen = f"image {job.image_id} is gone"
    elif image.status in DEAD_STATUSES:
        seen = f"image {job.image_id} is {image.status}"
    else:
        seen = f"image {job.image_id} is {image.status} and no longer changes"
    if is_uploading is False:
        reason = f"past its deadline {seen}, and the volume is free; see what became of it, then `retry`"
        return Ending(reason=reason, code="image_unreadable")
    volume = "cannot be read" if is_uploading is None else "is still uploading"
    out = f"an administrator frees it (openstack volume set --state available {job.volume_id}), then `retry`"
    return Ending(reason=f"stuck: past its deadline the volume {volume} and {seen}; {out}", code=STUCK)


def by_id_is_cheaper(exports: int, *, pages: int) -> bool:
    """Whether reading the images of `exports` by their ids costs less than a list of `pages`."""
    return -(-exports // IDS_PER_REQUEST) < pages


def deadline_s(size_gib: int | None, timeout_s: float | None) -> float:
    """Seconds after its acceptance at which an export is stalled; it is watched while it makes progress."""
    if timeout_s is not None:
        return timeout_s
    size = UNKNOWN_SIZE_GIB if size_gib is None else size_gib
    return max(DEADLINE_MIN_S, DEADLINE_BASE_S + DEADLINE_PER_GIB_S * size)


def poll_interval_s(youngest_age_s: float) -> float:
    """Seconds until the next poll, where not set: a twentieth of the youngest export's age, 5 to 60."""
    return min(60.0, max(5.0, youngest_age_s / 20))


def request_for(job: Job, image: ImageOptions, in_use: InUse, *, servers_down: bool) -> ExportRequest:
    """What is sent for a job: its own options over those of the run.

    With `InUse.STOP` force is set only while the servers are down; before that the cloud rejects the export.
    """
    options = job.options.over(image)
    policy = options.in_use or in_use
    if policy is InUse.STOP:
        options = replace(options, force=servers_down)
    elif policy is InUse.SNAPSHOT:
        options = replace(options, force=False)  # a copy is exported, or the volume while it is not in use
    elif options.force is None and policy is InUse.FORCE:
        options = replace(options, force=True)
    return ExportRequest(volume_id=job.volume_id, image_name=job.image_name, options=options)


def ending_of(error: CloudError, note: str | None = None) -> Ending:
    """The ending that a cloud's error means, with our `note` before the cloud's message."""
    reason = f"{note}: {error}" if note else str(error)
    return Ending(reason=reason, code=error.code, status=error.status, request_id=error.request_id)


def _because(ending: Ending, why: str, code: str) -> Ending:
    return Ending(
        reason=f"{ending.reason} ({why})", code=code, status=ending.status, request_id=ending.request_id
    )

"""What the engine decides from what it saw. Plain functions on plain values: no clock, no I/O, no await."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import assert_never

import msgspec
from msgspec.structs import replace

from batchexport.config import InUse
from batchexport.errors import CloudError
from batchexport.model import PASSING_STATUSES, Ending, ExportRequest, Image, ImageOptions, Job, Volume
from batchexport.plan import check_image

#: An image in one of these can no longer become active.
DEAD_STATUSES = frozenset({"killed", "deleted", "pending_delete"})
#: An image in one of these holds all its data.
COMPLETE_STATUSES = frozenset({"active", "deactivated"})
#: What a read does not show may be behind a replica, in a page that shifted or at a gateway without a back
#: end. It counts as absent when every look missed it for a minute and a second a GiB, ten minutes at most.
ABSENT_BASE_S, ABSENT_PER_GIB_S, ABSENT_MAX_S = 60.0, 1.0, 600.0
#: An unfinished image whose volume is free has lost its writer when it has not changed for five minutes and
#: five seconds for each GiB, the time in which a slow back end hashes it. One that is being written or
#: imported is given until the deadline of its export as well: Glance finishes some images by itself, after
#: Cinder has let go of the volume.
ORPHAN_BASE_S, ORPHAN_PER_GIB_S = 300.0, 5.0
#: The code of attempts whose image stayed unfinished: it is discarded before another attempt.
ORPHANED = "image_orphaned"
#: The code of exports that were ended because they no longer move. Their volumes may be uploading for good.
STUCK = "export_stuck"
#: A stuck export is one whose image has not changed over this share of its deadline, and some seconds.
STILL_SHARE, STILL_LEAST_S = 0.25, 10.0
#: Image times are cut to a second, and a record may become visible a moment after its time.
STAMP_MARGIN_S = 2.0
#: The clocks of a cloud's services and of its gateway differ; what is older than an intent by more than this
#: cannot be its result.
CLOCK_MARGIN_S = 60.0
#: Why a row ends whose volume does not come free.
STUCK_REASON = (
    "the volume has been uploading for longer than an export takes, and no image of this run shows: somebody"
    " else exports it, or an export was lost with its service. When it is over, or an administrator has freed"
    " the volume (`openstack volume set --state available VOLUME`), `batchexport retry` exports it"
)
#: The code of rows whose export was refused although force was set.
FORCE_IGNORED = "force_ignored"
#: As many ids as the client asks for in one request.
IDS_PER_REQUEST = 90
#: 30 minutes and 1.5 minutes for each GiB (12 MB/s), never less than an hour.
DEADLINE_BASE_S, DEADLINE_PER_GIB_S, DEADLINE_LEAST_S = 1800.0, 90.0, 3600.0
#: A volume of unknown size is given the time of the largest that EVS exports, 1 TiB.
UNKNOWN_SIZE_GIB = 1024


class Wait(msgspec.Struct, frozen=True):
    """Nothing can be said yet: look again."""


class Adopt(msgspec.Struct, frozen=True):
    """This image is ours: go on with it."""

    image: Image


class Ambiguous(msgspec.Struct, frozen=True):
    """Several images could be ours."""

    ending: Ending


class Retry(msgspec.Struct, frozen=True):
    """No image came of this attempt, and another may succeed."""

    ending: Ending


class InDoubt(msgspec.Struct, frozen=True):
    """The volume is being exported, perhaps by an earlier request of ours: settle that first."""


class Hold(msgspec.Struct, frozen=True):
    """The volume is in use: it is to wait until its servers are down."""


class Fail(msgspec.Struct, frozen=True):
    """No image, and another attempt would end the same."""

    ending: Ending


class Skip(msgspec.Struct, frozen=True):
    """Left out, as the settings ask."""

    ending: Ending


class Succeed(msgspec.Struct, frozen=True):
    """The image is there. `ending` notes what is odd about it, if anything is."""

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
    """What became of a request whose answer never came.

    `images` are those that could be its result, read after the volume; `proved` says that nobody else's can
    be among them. `clear_for_s` is how long ago the volume was first seen free, or missing, without any such
    image (and never otherwise since); None = not before. `overdue` says that an export would be past its
    deadline by now.
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
        return Fail(Ending(reason="the cloud knows no such volume", code="volume_not_found", status=404))
    return Retry(Ending(reason="the request was lost before the cloud acted on it", code="not_sent"))


def several(images: Sequence[Image]) -> Ending:
    """The ending of a job with several images."""
    listed = ", ".join(image.image_id for image in images)
    return Ending(reason=f"several images could be the result: {listed}", code="ambiguous")


def unproved(image: Image) -> Ending:
    """The ending of a job with an image that may be somebody else's."""
    reason = f"image {image.image_id} has this name, but nothing proves that this run made it"
    return Ending(reason=reason, code="ambiguous")


def reconcile(
    images: Sequence[Image], *, proved: bool, uploading: bool, clear_for_s: float | None, settle_s: float
) -> Adopt | Ambiguous | Retry:
    """What became of an ambiguous job, after somebody may have cleared up in the cloud.

    The arguments are those of `settle`.
    """
    left = alive(images)
    if len(left) == 1:
        return Adopt(left[0]) if proved else Ambiguous(unproved(left[0]))
    if left:
        return Ambiguous(several(left))
    if uploading or clear_for_s is None or clear_for_s < settle_s:
        reason = "several images could be the result: none yet, and the volume is uploading"
        if not uploading:
            reason = "no image that could be the result was seen, but not for long enough to be sure"
        return Ambiguous(Ending(reason=reason, code="ambiguous"))
    return Retry(Ending(reason="all images that could be the result were removed", code="removed"))


def alive(images: Sequence[Image]) -> list[Image]:
    """Those of these images that are complete or may still become so."""
    return [image for image in images if image.status not in DEAD_STATUSES]


def candidates(images: Sequence[Image], names: Container[str], *, not_ours: Container[str]) -> list[Image]:
    """The images that could be a job's: of one of its names, and none of those that are known not to be.

    No time is compared: the clocks of a cloud's services and hosts differ, jump and drift.
    """
    return [image for image in images if image.name in names and image.image_id not in not_ours]


def may_have_been_sent(job: Job) -> bool:
    """Whether a request for the job may have reached the cloud before the attempt under way."""
    return job.attempt > 1 or job.first_intent_at != job.intent_at


def refused_for_status(
    error: CloudError, volume: Volume | None, *, in_use: InUse, forced: bool
) -> InDoubt | Retry | Hold | Fail | Skip:
    """What to do with a job that the cloud refused because of its volume's status."""
    if volume is None or volume.status in ("uploading", "available"):
        # Available now, it was not: perhaps for an export of ours that has just ended. And what has a status
        # is there: that it is not found may be a replica that lags.
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
        case InUse.STOP:
            return Hold()
        case InUse.SKIP:
            return Skip(_because(ending, "skipped because it is attached to a server", "in_use"))
        case InUse.FAIL | InUse.FORCE:
            why = "it is attached to a server; detach it, or see --in-use"
            return Fail(_because(ending, why, "in_use"))
    assert_never(in_use)


def verdict(
    image: Image | None, *, same_for_s: float, size_gib: int | None, overdue: bool
) -> Succeed | Retry | Wait:
    """What became of an export whose volume is no longer uploading.

    The image was read after the volume. `same_for_s` is how long every look has shown the volume free and the
    image exactly as it is now: missing (None), or of this status, size and time of change. `overdue` says
    that the export is past its deadline.
    """
    if image is None:
        if same_for_s < absent_after_s(size_gib):
            return Wait()
        return Retry(Ending(reason="the export failed: the cloud removed the image", code="image_gone"))
    if image.status == "active":
        return Succeed(Ending(reason="active"))
    if image.status == "deactivated":
        return Succeed(Ending(reason="the image is complete but was deactivated", code="deactivated"))
    if image.status in DEAD_STATUSES:
        return Retry(Ending(reason=f"the export failed: the image is {image.status}", code="image_dead"))
    if same_for_s < orphan_after_s(size_gib) or not (image.status == "queued" or overdue):
        return Wait()
    reason = f"the export failed: the image stayed {image.status} although the volume is free"
    return Retry(Ending(reason=reason, code=ORPHANED))


def absent_after_s(size_gib: int | None) -> float:
    """Seconds for which every look must miss something before it counts as absent."""
    size = UNKNOWN_SIZE_GIB if size_gib is None else size_gib
    return min(ABSENT_MAX_S, ABSENT_BASE_S + ABSENT_PER_GIB_S * size)


def orphan_after_s(size_gib: int | None) -> float:
    """Seconds without a change after which an unfinished image has lost its writer."""
    size = UNKNOWN_SIZE_GIB if size_gib is None else size_gib
    return ORPHAN_BASE_S + ORPHAN_PER_GIB_S * size


def finished(image: Image, job: Job, asked: ImageOptions) -> Ending:
    """How an export ends whose image is active: with its hash, and with what is not as it was asked for."""
    options = job.options.over(asked)
    unlike = check_image(image, options=options, size_gib=job.size_gib, name=job.image_name)
    image_hash = image.details.hash if image.details else None
    if not unlike:
        return Ending(reason="active", image_hash=image_hash)
    words = "; ".join(finding.words for finding in unlike)
    return Ending(reason=f"active, but {words}", code=unlike[0].code, image_hash=image_hash)


def still_for_s(job: Job) -> float:
    """Seconds without a change of its image after which an export past its deadline is stuck."""
    allowed_s = (job.deadline_at or 0.0) - (job.accepted_at or 0.0)
    return max(STILL_LEAST_S, STILL_SHARE * allowed_s)


def stuck(job: Job, image: Image | None, *, is_read: bool, is_uploading: bool | None) -> Ending:
    """How an export ends that is past its deadline and no longer moves, with the way out.

    `is_read` says whether the image could be read, `image` is None where it is gone. `is_uploading` is what
    the volume was last seen to do; None = it cannot be read.
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
    """Whether asking for the images of so many exports by their ids costs less than a list of these pages."""
    return -(-exports // IDS_PER_REQUEST) < pages


def deadline_s(size_gib: int | None, timeout_s: float | None) -> float:
    """Seconds after its acceptance at which an export is called stalled; it is watched while it moves."""
    if timeout_s is not None:
        return timeout_s
    size = UNKNOWN_SIZE_GIB if size_gib is None else size_gib
    return max(DEADLINE_LEAST_S, DEADLINE_BASE_S + DEADLINE_PER_GIB_S * size)


def poll_interval_s(youngest_age_s: float) -> float:
    """Seconds until the next look, where none was set: a twentieth of the youngest export's age, 5 to 60."""
    return min(60.0, max(5.0, youngest_age_s / 20))


def request_for(job: Job, image: ImageOptions, in_use: InUse, *, servers_down: bool) -> ExportRequest:
    """What is sent for a job: its own options over those of the run; volumes in use forced only if asked.

    With `InUse.STOP` force is set exactly while its servers are down: until then the cloud is to refuse it.
    """
    options = job.options.over(image)
    policy = options.in_use or in_use
    if policy is InUse.STOP:
        options = replace(options, force=servers_down)
    elif options.force is None and policy is InUse.FORCE:
        options = replace(options, force=True)
    return ExportRequest(volume_id=job.volume_id, image_name=job.image_name, options=options)


def ending_of(error: CloudError, note: str | None = None) -> Ending:
    """The ending that an error of the cloud stands for, with our own note in front of the cloud's words."""
    reason = f"{note}: {error}" if note else str(error)
    return Ending(reason=reason, code=error.code, status=error.status, request_id=error.request_id)


def _because(ending: Ending, why: str, code: str) -> Ending:
    return Ending(
        reason=f"{ending.reason} ({why})", code=code, status=ending.status, request_id=ending.request_id
    )

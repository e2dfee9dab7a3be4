"""Whether a row can go, by what is known of its volume. Plain functions on plain records."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from batchexport.config import InUse
from batchexport.dialect import Dialect, image_name_words
from batchexport.model import PASSING_STATUSES, ImageOptions, Job, Volume, VolumeDetails
from batchexport.plan.findings import Finding, Weight

#: The limit of an image service that nobody has set otherwise. Clouds do not tell theirs.
USUAL_IMAGE_LIMIT_GIB = 1024
#: Keys of these names are the image service's own: older block storage copies them, and is refused for it.
RESERVED_PREFIX = "os_glance"
#: Servers named in a finding.
MOST_SERVERS = 3


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What all rows of a target are judged by."""

    dialect: Dialect
    image: ImageOptions  #: of the run; those of a row come first
    in_use: InUse  #: of the run; as above


def judge(row: Job, volume: Volume | None, rules: Rules) -> list[Finding]:
    """Everything that speaks against this export. `volume` is None where the cloud knows no such volume."""
    if volume is None:
        return [_cannot("volume_not_found", "the cloud knows no such volume")]
    options = row.options.over(rules.image)
    return [
        *_of_status(volume, forced=bool(options.force), in_use=options.in_use or rules.in_use),
        *_of_size(volume, rules.dialect),
        *_of_format(options, rules.dialect),
        *_of_name(row, rules.dialect),
        *_of_dropped_options(options, rules.dialect),
        *_of_details(volume.details, options, rules.dialect),
    ]


def name_taken(row: Job) -> Finding:
    """The finding for an image name that an image of the project has already."""
    words = f"an image of this name is there already: {row.image_name}"
    return _may_fail("image_name_taken", words)


def _of_status(volume: Volume, *, forced: bool, in_use: InUse) -> Iterator[Finding]:
    status = volume.status
    if status == "available":
        return
    if status == "in-use":
        yield _in_use(volume, forced=forced, in_use=in_use)
    elif status == "uploading":
        yield _may_fail("uploading", "the volume is being exported now, by this run or by somebody else")
    elif status in PASSING_STATUSES:
        yield _may_fail("volume_busy", f"the volume is {status}; it is tried again until that has passed")
    else:
        yield _cannot("volume_status", f"the volume is {status}; only available ones can be exported")


def _in_use(volume: Volume, *, forced: bool, in_use: InUse) -> Finding:
    where = _servers(volume.server_ids)
    if in_use is InUse.SKIP:
        return Finding(weight=Weight.LEFT_OUT, code="in_use", words=f"the volume is attached to {where}")
    if in_use is InUse.STOP:
        words = f"the volume is attached to {where}, to be stopped for its export"
        return Finding(weight=Weight.STOPS, code="in_use", words=words)
    if in_use is InUse.FAIL and not forced:
        return _cannot("in_use", f"the volume is attached to {where}; detach it, or see --in-use")
    words = f"the volume is attached to {where}: the cloud may refuse it, and its data may be torn"
    return _may_fail("in_use", words)


def _servers(server_ids: tuple[str, ...]) -> str:
    if not server_ids:
        return "a server"
    more = len(server_ids) - MOST_SERVERS
    named = ", ".join(server_ids[:MOST_SERVERS]) + (f" and {more} more" if more > 0 else "")
    return f"server {named}" if len(server_ids) == 1 else f"servers {named}"


def _of_size(volume: Volume, dialect: Dialect) -> Iterator[Finding]:
    size = volume.size_gib or 0
    if dialect.largest_gib is not None:
        if size > dialect.largest_gib:
            words = f"the volume has {size} GiB; {dialect.name} exports up to {dialect.largest_gib}"
            yield _cannot("too_large", words)
    elif size > USUAL_IMAGE_LIMIT_GIB:
        usual = USUAL_IMAGE_LIMIT_GIB
        words = f"the volume has {size} GiB; image services take {usual}, unless set up otherwise"
        yield _may_fail("too_large", words)


def _of_format(options: ImageOptions, dialect: Dialect) -> Iterator[Finding]:
    if fault := dialect.disk_format_fault(options.disk_format):
        yield _cannot("disk_format", fault)


def _of_name(row: Job, dialect: Dialect) -> Iterator[Finding]:
    if fault := dialect.image_name_fault(row.image_name):
        yield _cannot("image_name", image_name_words(fault, dialect))


def _of_dropped_options(options: ImageOptions, dialect: Dialect) -> Iterator[Finding]:
    dropped = []
    if options.os_type is not None and not dialect.takes_os_type:
        dropped.append("os type")
    if not dialect.takes_visibility:
        dropped += ["visibility"] * (options.visibility is not None)
        dropped += ["protection"] * (options.protected is not None)
    if dropped:
        words = f"{' and '.join(dropped)} will not be set: {dialect.name} takes no such wish"
        yield _may_fail("option_dropped", words)


def _of_details(details: VolumeDetails | None, options: ImageOptions, dialect: Dialect) -> Iterator[Finding]:
    if details is None:
        return
    if details.encrypted and dialect.encrypted_only_as is not None:
        asked = (
            options.disk_format or dialect.default_disk_format,
            options.container_format or "bare",
        )
        if asked != dialect.encrypted_only_as:
            only, got = "/".join(dialect.encrypted_only_as), "/".join(asked)
            words = f"the volume is encrypted: it can be exported as {only} only, not as {got}"
            yield _cannot("encrypted", words)
    if reserved := sorted(key for key in details.image_metadata if key.startswith(RESERVED_PREFIX)):
        words = (
            f"image metadata of the volume holds {', '.join(reserved)}, which some clouds refuse; "
            f"`openstack volume unset --image-property {reserved[0]} …` removes it"
        )
        yield _may_fail("reserved_metadata", words)


def _cannot(code: str, words: str) -> Finding:
    return Finding(weight=Weight.CANNOT, code=code, words=words)


def _may_fail(code: str, words: str) -> Finding:
    return Finding(weight=Weight.MAY_FAIL, code=code, words=words)

"""What speaks against exporting a row, by what is known of its volume. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from batchexport.config import InUse
from batchexport.dialect import Dialect, image_name_message
from batchexport.model import PASSING_STATUSES, Ending, ImageOptions, Job, JobState, Volume, VolumeDetails


class Severity(StrEnum):
    """What a finding means for its row, most severe first. The values are those of plan's JSON."""

    BLOCKED = "cannot go"  #: the cloud would certainly refuse it
    EXCLUDED = "left out"  #: by the settings
    MISMATCH = "not as asked"  #: its image exists, but differs from what was asked for
    NEEDS_STOP = "stops"  #: it is exported once its servers are stopped
    NEEDS_COPY = "copied"  #: a copy of it is exported
    WARNING = "may fail"  #: it is exported all the same


_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about a row, or about its image, that a person should know."""

    severity: Severity
    code: str  #: stable word for scripts
    words: str


def most_severe(findings: Iterable[Finding]) -> Finding | None:
    """The finding that decides about the row; None if there is none."""
    return min(findings, key=lambda finding: _RANK[finding.severity], default=None)


def ending_for(findings: Iterable[Finding]) -> tuple[JobState, Ending] | None:
    """How a row that is not to be sent ends; None = it is sent."""
    finding = most_severe(findings)
    if finding is None or finding.severity in (Severity.NEEDS_STOP, Severity.NEEDS_COPY, Severity.WARNING):
        return None
    state = JobState.FAILED if finding.severity is Severity.BLOCKED else JobState.SKIPPED
    return state, Ending(reason=f"not sent: {finding.words}", code=finding.code)


def stops_servers(findings: Iterable[Finding]) -> bool:
    """Whether the row is sent once the servers of its volume are stopped."""
    return any(finding.severity is Severity.NEEDS_STOP for finding in findings)


def needs_copy(findings: Iterable[Finding]) -> bool:
    """Whether a copy of the volume is exported, which is in use."""
    return any(finding.severity is Severity.NEEDS_COPY for finding in findings)


#: Default size limit of image services. Clouds do not report theirs.
USUAL_IMAGE_LIMIT_GIB = 1024
#: Keys reserved by the image service: older block storage copies them to the image, and is refused.
RESERVED_PREFIX = "os_glance"
#: Servers named in a finding.
MAX_SERVERS = 3


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What all rows of a target are checked against."""

    dialect: Dialect
    image: ImageOptions  #: of the run; the row's own take precedence
    in_use: InUse  #: of the run; the row's own takes precedence


def check_row(row: Job, volume: Volume | None, rules: Rules) -> list[Finding]:
    """Everything that speaks against this export. `volume` is None if the cloud has no such volume."""
    if volume is None:
        return [_blocked("volume_not_found", "the cloud has no such volume")]
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
    """The finding for an image name that is already taken in the project."""
    words = f"an image of this name exists already: {row.image_name}"
    return _warning("image_name_taken", words)


def _of_status(volume: Volume, *, forced: bool, in_use: InUse) -> Iterator[Finding]:
    status = volume.status
    if status == "available":
        return
    if status == "in-use":
        yield _in_use(volume, forced=forced, in_use=in_use)
    elif status == "uploading":
        yield _warning("uploading", "the volume is being exported right now, by this run or by another")
    elif status in PASSING_STATUSES:
        yield _warning("volume_busy", f"the volume is {status}; it is retried until that has passed")
    else:
        yield _blocked("volume_status", f"the volume is {status}; only available ones can be exported")


def _in_use(volume: Volume, *, forced: bool, in_use: InUse) -> Finding:
    where = _servers(volume.server_ids)
    if in_use is InUse.SKIP:
        return Finding(severity=Severity.EXCLUDED, code="in_use", words=f"the volume is attached to {where}")
    if in_use is InUse.STOP:
        words = f"the volume is attached to {where}, to be stopped for its export"
        return Finding(severity=Severity.NEEDS_STOP, code="in_use", words=words)
    if in_use is InUse.SNAPSHOT:
        words = f"the volume is attached to {where}: a copy of it is exported, as after a power cut"
        return Finding(severity=Severity.NEEDS_COPY, code="in_use", words=words)
    if in_use is InUse.FAIL and not forced:
        return _blocked("in_use", f"the volume is attached to {where}; detach it, or see --in-use")
    words = f"the volume is attached to {where}: the cloud may refuse it, and the image may be inconsistent"
    return _warning("in_use", words)


def _servers(server_ids: tuple[str, ...]) -> str:
    if not server_ids:
        return "a server"
    more = len(server_ids) - MAX_SERVERS
    named = ", ".join(server_ids[:MAX_SERVERS]) + (f" and {more} more" if more > 0 else "")
    return f"server {named}" if len(server_ids) == 1 else f"servers {named}"


def _of_size(volume: Volume, dialect: Dialect) -> Iterator[Finding]:
    size = volume.size_gib or 0
    if dialect.max_gib is not None:
        if size > dialect.max_gib:
            words = f"the volume has {size} GiB; {dialect.name} exports up to {dialect.max_gib}"
            yield _blocked("too_large", words)
    elif size > USUAL_IMAGE_LIMIT_GIB:
        usual = USUAL_IMAGE_LIMIT_GIB
        words = f"the volume has {size} GiB; image services take {usual}, unless set up otherwise"
        yield _warning("too_large", words)


def _of_format(options: ImageOptions, dialect: Dialect) -> Iterator[Finding]:
    if fault := dialect.disk_format_problem(options.disk_format):
        yield _blocked("disk_format", fault)


def _of_name(row: Job, dialect: Dialect) -> Iterator[Finding]:
    if fault := dialect.image_name_problem(row.image_name):
        yield _blocked("image_name", image_name_message(fault, dialect))


def _of_dropped_options(options: ImageOptions, dialect: Dialect) -> Iterator[Finding]:
    dropped = []
    if options.os_type is not None and not dialect.takes_os_type:
        dropped.append("os type")
    if not dialect.takes_visibility:
        dropped += ["visibility"] * (options.visibility is not None)
        dropped += ["protection"] * (options.protected is not None)
    if options.tags and not dialect.takes_tags:
        dropped.append("tags")
    if dropped:
        words = f"{' and '.join(dropped)} will not be set: {dialect.name} does not support it"
        yield _warning("option_dropped", words)


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
            yield _blocked("encrypted", words)
    if reserved := sorted(key for key in details.image_metadata if key.startswith(RESERVED_PREFIX)):
        words = (
            f"image metadata of the volume holds {', '.join(reserved)}, which some clouds refuse; "
            f"`openstack volume unset --image-property {reserved[0]} …` removes it"
        )
        yield _warning("reserved_metadata", words)


def _blocked(code: str, words: str) -> Finding:
    return Finding(severity=Severity.BLOCKED, code=code, words=words)


def _warning(code: str, words: str) -> Finding:
    return Finding(severity=Severity.WARNING, code=code, words=words)

"""What the state file tells about a run: frozen records for whoever reads it.

Times are seconds since the epoch, UTC; `intent_at` is by the cloud's clock, all others by this machine's.
"""

from __future__ import annotations

import msgspec

from batchexport.identity import CloudIdentity
from batchexport.model import ImageOptions, InUse, Job, JobState, ServerState, TargetKey
from batchexport.store.sqlite.owner import Owner


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a state file was made from."""

    run_id: str
    created_at: float
    list_name: str
    list_sha256: str
    rows: int
    settings: str  #: JSON: what was asked of the images
    version: str  #: of batchexport
    stop_rows: int = 0  #: rows that say themselves that servers are to be stopped for them
    in_use: InUse | None = None  #: what the run was last told to do with volumes in use; None = nothing
    may_stop: bool = False  #: somebody agreed to servers being stopped


class TargetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the run."""

    target_id: int
    key: TargetKey
    requests_per_second: float | None  #: what the cloud taught an earlier process; None = nothing yet
    identity: CloudIdentity | None = None  #: what sign-in found it to be; None = nobody signed in yet


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """One value that several rows of a target share, though it must be unique there."""

    field: str  #: volume_id or image_name
    value: str
    lines: tuple[int, ...]  #: of the job list, ascending
    target: TargetKey


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    """A row that no attempt was made of, and the line of the list it stands on."""

    line: int
    job: Job


class Forbiddings(msgspec.Struct, frozen=True, kw_only=True):
    """What is known from earlier processes of rows that the cloud forbids to export."""

    job_ids: frozenset[int]  #: pending rows whose last request was answered with 403
    others_were_accepted: bool  #: the cloud accepted some row of the target; False where no row is forbidden


class AfootServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that we stopped, or are about to, and that is not up again."""

    server_id: str
    name: str | None
    state: ServerState
    stopping_at: float | None  #: when it was first to be asked to stop


class LinkedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not at its end and hangs on servers."""

    job: Job
    state: JobState
    held: bool  #: it is not sent before its servers are down
    server_ids: tuple[str, ...]


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is not up again, with what it is down for."""

    target: TargetKey
    server_id: str
    name: str | None
    state: ServerState
    stopping_at: float | None
    down_at: float | None
    note: str | None  #: what is wrong with it
    volume_ids: tuple[str, ...]  #: of the rows that it is, or was, to be stopped for


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A row that succeeded, and what is known of its image."""

    line: int
    volume_id: str
    image_id: str
    image_name: str
    options: ImageOptions  #: of the row; those of the run come below
    size_gib: int | None  #: of the volume
    image_hash: str | None
    is_shared: bool  #: another row of the target names the same image


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a target are in one state, and their size as far as it is known."""

    target: TargetKey
    state: JobState
    jobs: int
    gib: int  #: sum over the jobs of known size
    sized_jobs: int  #: jobs of known size


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """One row with everything that is known of it."""

    job_id: int
    line: int
    target: TargetKey
    volume_id: str
    image_name: str
    state: JobState
    image_id: str | None
    options: ImageOptions
    size_gib: int | None
    attempts: int
    reason: str | None  #: of the attempt that ended last; None while one is under way or none ended
    code: str | None
    status: int | None  #: HTTP status
    request_id: str | None  #: of the last ending, else of the accepted request
    intent_at: float | None
    accepted_at: float | None
    finished_at: float | None
    next_at: float | None  #: not tried again before; None = not waiting, or for servers to be down
    deadline_at: float | None
    image_hash: str | None = None  #: `sha512:…`, where the cloud told it when the image turned active
    volume_name: str | None = None  #: None = nobody told
    image_status: str | None = None  #: when somebody last looked at its image by its id; None = nobody did


class AttemptReport(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that ended. Attempts that were put back uncounted share their number with the next."""

    attempt: int
    intent_at: float | None
    accepted_at: float | None
    ended_at: float
    outcome: JobState  #: the state the job went to
    image_id: str | None
    status: int | None  #: HTTP status
    code: str | None
    reason: str | None
    request_id: str | None


class Abandoned(msgspec.Struct, frozen=True, kw_only=True):
    """The image of an attempt that ended without success."""

    target: TargetKey
    job_id: int
    volume_id: str
    image_name: str
    image_id: str


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a target."""

    target: TargetKey
    owner: Owner
    alive: bool | None  #: None = cannot be told from here
    lease_until: float


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs ended for one reason."""

    reason: str
    code: str | None
    jobs: int

"""The state files of a job's nightly runs: how they are named, which is unfinished, which may be removed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Self

import msgspec

from batchexport.config.schedule import OnUnfinished, ScheduleConfig
from batchexport.errors import ConfigError, StateError, StateInUseError
from batchexport.model import FINAL_STATES, JobState, TargetKey
from batchexport.scheduling.cron import last_start
from batchexport.scheduling.throughput import Throughput, fit_throughput
from batchexport.scheduling.window import Opening, Window, opening_at
from batchexport.store import StoreRef, count_deliveries, stores

_UNDER_WAY = frozenset({JobState.SUBMITTING, JobState.EXPORTING})
_NIGHT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}-[0-9]{2})?"
#: Recent nights whose exports predict the next one's throughput; older ones no longer do.
_PACE_NIGHTS = 5
#: Ended exports read of each night: enough to fit its throughput.
_PACE_EXPORTS = 2000


class NightlyRun(msgspec.Struct, frozen=True, kw_only=True):
    """The state file of one nightly run, and what is left to do in it."""

    path: Path
    to_do: int  #: rows that have not ended, or are not delivered yet
    under_way: int  #: of these, rows whose request was or may have been accepted, and those to be delivered
    undelivered: int  #: of these, rows that are exported, and have a delivery that a run goes on with
    unreleased: int  #: servers, snapshots and temporary volumes that are ours to release

    @property
    def pending(self) -> int:
        """Rows whose request has not been sent."""
        return self.to_do - self.under_way

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises StateError if it cannot be read."""
        with stores.read(path) as reader:
            overview = reader.overview()
            counts = count_deliveries(reader)
        delivering = 0 if counts is None else counts.rows_open
        return cls(
            path=path,
            to_do=delivering
            + sum(tally.jobs for tally in overview.tallies if tally.state not in FINAL_STATES),
            under_way=delivering + sum(tally.jobs for tally in overview.tallies if tally.state in _UNDER_WAY),
            undelivered=delivering,
            unreleased=len(overview.resources),
        )


def night_name(nights: ScheduleConfig, opening: Opening | None, now: float) -> str:
    """The name of the current night, the same for every process that starts in it.

    The date its window opened, else the last scheduled start, else the date (UTC).
    """
    if opening is not None:
        return opening.night.isoformat()
    if nights.schedule is not None and (started_at := last_start(nights.schedule, now)) is not None:
        return datetime.fromtimestamp(started_at, nights.schedule.zone).strftime("%Y-%m-%dT%H-%M")
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def night_path(folder: Path, job: str, night: str) -> Path:
    """The path of a night's state file."""
    return folder / f"{job}-{night}.state"


def other_stores(ref: StoreRef) -> list[StoreRef]:
    """The other stores beside this one, newest first, nightly runs excepted.

    Nightly runs export the same volumes every night on purpose, so they are not searched for duplicates.
    """
    night = re.compile(rf".+-{_NIGHT}\.state")
    if night.fullmatch(ref.name):
        return []
    return [other for other in stores.beside(ref) if not night.fullmatch(other.name)]


def run_files(folder: Path, job: str) -> list[Path]:
    """The state files of all nightly runs of a job, oldest first."""
    name = re.compile(rf"{re.escape(job)}-{_NIGHT}\.state")
    return sorted(path for path in folder.glob("*.state") if name.fullmatch(path.name))


def read_runs(nights: Iterable[Path]) -> tuple[list[NightlyRun], list[StateError]]:
    """The nightly runs in these files, and the errors of those that cannot be read.

    An unreadable file may hold anything: it never counts as a run with nothing left.
    """
    found, unreadable = [], []
    for path in nights:
        try:
            found.append(NightlyRun.read(path))
        except StateError as error:
            unreadable.append(error)
    return found, unreadable


def unfinished_before(tonight: Path, nights: Sequence[NightlyRun]) -> NightlyRun | None:
    """The last run before tonight's, if it did not finish its list."""
    earlier = [night for night in nights if night.path.name < tonight.name]
    return earlier[-1] if earlier and earlier[-1].to_do else None


def rows_to_do(path: Path) -> int:
    """Rows of a state file that have not ended. Raises StateError."""
    return NightlyRun.read(path).to_do


def exported_since(path: Path, since: float, until: float) -> frozenset[tuple[TargetKey, str]]:
    """The volumes whose export started between these instants and is running or done.

    For a row whose image was found later, the start is its intent, by the cloud's clock.
    """
    with stores.read(path) as reader:
        return frozenset(
            (job.target, job.volume_id)
            for job in reader.jobs({JobState.EXPORTING, JobState.SUCCEEDED})
            if since <= ((job.accepted_at if job.request_id else job.intent_at) or 0.0) <= until
        )


def throughput_of(paths: Sequence[Path], window: Window) -> Throughput:
    """The throughput of the exports in the newest of these state files; unreadable ones are passed over.

    Exports that ended outside a window are left out: their end was only noticed a day later.
    """
    return fit_throughput(
        (size_gib, finished_at - accepted_at)
        for path in paths[-_PACE_NIGHTS:]
        for size_gib, accepted_at, finished_at in _ended_exports(path)
        if (opening := opening_at(window, accepted_at)) and finished_at <= opening.watched_until
    )


def too_large(path: Path, max_gib: int) -> list[str]:
    """The pending volumes larger than `max_gib`."""
    with stores.read(path) as reader:
        jobs = reader.jobs({JobState.PENDING})
        return [job.volume_id for job in jobs if job.size_gib is not None and job.size_gib > max_gib]


def remove_old(nights: Sequence[Path], *, keep: int, on_unfinished: OnUnfinished) -> list[Path]:
    """Remove the state files of the oldest nights beyond `keep`; returns the removed paths.

    An unfinished one stays, unless unfinished nights are abandoned anyway. One with servers that are down
    always stays, and so does one that cannot be read: it may have some.
    """
    gone = []
    for night in read_runs(nights[:-keep])[0]:
        given_up = on_unfinished is OnUnfinished.ABANDON or not night.to_do
        if given_up and not night.unreleased:
            for part in night.path.parent.glob(f"{escape(night.path.name)}*"):
                part.unlink(missing_ok=True)
            gone.append(night.path)
    return gone


@contextmanager
def exclusive_lock(folder: Path, job: str) -> Iterator[None]:
    """Hold the job's lock, so that one process at a time works on its nights. Raises StateInUseError.

    The lock is released when the process ends, however it ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.fdopen(_lock_handle(folder / f".{job}.lock"), "r+")
    except OSError as error:
        raise ConfigError(f"state_dir {folder} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateInUseError(
                f"process {lock.read().strip() or 'of another host'} is running {job} already",
                hint=f"one run of a job at a time; see `batchexport runs {folder}`",
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _lock_handle(path: Path) -> int:
    """Open the lock file. In a shared folder somebody may have planted a link or a pipe in its place."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, f"{path.name} in it is a symbolic link; remove it") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, f"{path.name} in it is no regular file; remove it")
    return handle


def _ended_exports(path: Path) -> Iterator[tuple[int, float, float]]:
    """Size, start and end of exports."""
    try:
        with stores.read(path) as reader:
            for job in islice(reader.jobs({JobState.SUCCEEDED}), _PACE_EXPORTS):
                if job.size_gib and job.accepted_at and job.finished_at:
                    yield job.size_gib, job.accepted_at, job.finished_at
    except StateError:
        return  # whoever needs the file reports what is wrong with it

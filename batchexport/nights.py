"""The state files of a job's nights: which one a night has, which was left unfinished, which may go."""

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

from batchexport.config.nights import Nights, OnUnfinished
from batchexport.errors import ConfigError, StateError, StateInUseError
from batchexport.model import FINAL_STATES, JobState, TargetKey
from batchexport.pace import Pace, learned
from batchexport.schedule import last_start
from batchexport.store import StateReader
from batchexport.window import Session, Window, session_at

_UNDER_WAY = frozenset({JobState.SUBMITTING, JobState.EXPORTING})
_NIGHT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}-[0-9]{2})?"
#: The pace of so many nights is that of the next one; older ones met another cloud.
_PACE_NIGHTS = 5
#: Ended exports of each night that are enough to tell its pace.
_PACE_EXPORTS = 2000


class NightFile(msgspec.Struct, frozen=True, kw_only=True):
    """The state file of a night, and what is left in it."""

    path: Path
    to_do: int  #: rows that are not at their end
    under_way: int  #: of these, rows that the cloud works on, or may
    servers_down: int  #: servers that were stopped and are not up again

    @property
    def pending(self) -> int:
        """Rows that wait to be sent."""
        return self.to_do - self.under_way

    @classmethod
    def read(cls, path: Path) -> Self:
        """What the file says now. Raises StateError where it cannot be read."""
        with StateReader(path) as reader:
            tallies, servers_down = reader.tallies(), len(reader.servers())
        return cls(
            path=path,
            to_do=sum(tally.jobs for tally in tallies if tally.state not in FINAL_STATES),
            under_way=sum(tally.jobs for tally in tallies if tally.state in _UNDER_WAY),
            servers_down=servers_down,
        )


def night_name(nights: Nights, session: Session | None, now: float) -> str:
    """What a night is called: the same for every process that starts in it.

    By the date its window opened, else by the last scheduled start, else by the date (UTC).
    """
    if session is not None:
        return session.night.isoformat()
    if nights.schedule is not None and (started_at := last_start(nights.schedule, now)) is not None:
        return datetime.fromtimestamp(started_at, nights.schedule.zone).strftime("%Y-%m-%dT%H-%M")
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def night_path(folder: Path, job: str, night: str) -> Path:
    """The state file of a night."""
    return folder / f"{job}-{night}.state"


def files_beside(path: Path) -> list[Path]:
    """The other state files in the folder of this one, the newest first, but for those of nights.

    Nights export the same volumes again and again, as they should: one of them is compared with none.
    """
    night = re.compile(rf".+-{_NIGHT}\.state")
    if night.fullmatch(path.name):
        return []
    others = [each for each in path.parent.glob("*.state") if not night.fullmatch(each.name)]
    return sorted((each for each in others if each != path), key=_changed_at, reverse=True)


def nights_of(folder: Path, job: str) -> list[Path]:
    """The state files of all nights of a job, the oldest first."""
    name = re.compile(rf"{re.escape(job)}-{_NIGHT}\.state")
    return sorted(path for path in folder.glob("*.state") if name.fullmatch(path.name))


def surveyed(nights: Iterable[Path]) -> tuple[list[NightFile], list[StateError]]:
    """The state files of nights with what is left in them, and the errors of those that cannot be read.

    What cannot be read may hold anything: it is never taken for a night with nothing left.
    """
    found, unreadable = [], []
    for path in nights:
        try:
            found.append(NightFile.read(path))
        except StateError as error:
            unreadable.append(error)
    return found, unreadable


def unfinished_before(tonight: Path, nights: Sequence[NightFile]) -> NightFile | None:
    """The night before tonight, if it did not get through its list."""
    earlier = [night for night in nights if night.path.name < tonight.name]
    return earlier[-1] if earlier and earlier[-1].to_do else None


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def rows_to_do(path: Path) -> int:
    """Rows of a state file that are not at their end. Raises StateError."""
    return NightFile.read(path).to_do


def exported_since(path: Path, since: float, until: float) -> frozenset[tuple[TargetKey, str]]:
    """The volumes whose export began between these instants and is under way or done.

    A row that found its image later began with its intent, which is by the cloud's clock.
    """
    with StateReader(path) as reader:
        return frozenset(
            (job.target, job.volume_id)
            for job in reader.jobs({JobState.EXPORTING, JobState.SUCCEEDED})
            if since <= ((job.accepted_at if job.request_id else job.intent_at) or 0.0) <= until
        )


def pace_of(paths: Sequence[Path], window: Window) -> Pace:
    """The pace of the exports in the newest of these state files; those that cannot be read say nothing.

    What ended while nobody looked is left out: it was noticed a day later.
    """
    return learned(
        (size_gib, finished_at - accepted_at)
        for path in paths[-_PACE_NIGHTS:]
        for size_gib, accepted_at, finished_at in _ended_exports(path)
        if (session := session_at(window, accepted_at)) and finished_at <= session.watched_until
    )


def too_large(path: Path, most_gib: int) -> list[str]:
    """The pending volumes that are larger than this."""
    with StateReader(path) as reader:
        jobs = reader.jobs({JobState.PENDING})
        return [job.volume_id for job in jobs if job.size_gib is not None and job.size_gib > most_gib]


def forget_old(nights: Sequence[Path], *, keep: int, on_unfinished: OnUnfinished) -> list[Path]:
    """Remove the state files of the oldest nights beyond `keep`, and tell which.

    One that is unfinished stays, unless unfinished nights are given up anyway; one that knows of servers that
    are down stays in any case, and so does one that cannot be read, for it may.
    """
    gone = []
    for night in surveyed(nights[:-keep])[0]:
        given_up = on_unfinished is OnUnfinished.ABANDON or not night.to_do
        if given_up and not night.servers_down:
            for part in night.path.parent.glob(f"{escape(night.path.name)}*"):
                part.unlink(missing_ok=True)
            gone.append(night.path)
    return gone


@contextmanager
def alone(folder: Path, job: str) -> Iterator[None]:
    """The nights of a job for this process alone; StateInUseError where another has them.

    The lock ends with the process, however it ends.
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
                f"process {lock.read().strip() or 'of another host'} is at work on a night of {job}",
                hint=f"one night of a job at a time; see `batchexport runs {folder}`",
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _lock_handle(path: Path) -> int:
    """The lock file, opened. In a shared folder others may have put a link or a pipe in its place."""
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
        with StateReader(path) as reader:
            for job in islice(reader.jobs({JobState.SUCCEEDED}), _PACE_EXPORTS):
                if job.size_gib and job.accepted_at and job.finished_at:
                    yield job.size_gib, job.accepted_at, job.finished_at
    except StateError:
        return  # what cannot be read teaches nothing; whoever needs the file will say what is wrong with it

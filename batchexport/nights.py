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

from batchexport.config.nights import Nights, OnUnfinished
from batchexport.errors import ConfigError, StateError, StateInUseError
from batchexport.model import FINAL_STATES, JobState, TargetKey
from batchexport.pace import Pace, learned
from batchexport.schedule import last_start
from batchexport.store import StateReader
from batchexport.window import Session, Window, session_at

_NIGHT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}-[0-9]{2})?"
#: The pace of so many nights is that of the next one; older ones met another cloud.
_PACE_NIGHTS = 5
#: Ended exports of each night that are enough to tell its pace.
_PACE_EXPORTS = 2000


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


def nights_of(folder: Path, job: str) -> list[Path]:
    """The state files of all nights of a job, the oldest first."""
    name = re.compile(rf"{re.escape(job)}-{_NIGHT}\.state")
    return sorted(path for path in folder.glob("*.state") if name.fullmatch(path.name))


def unfinished_before(tonight: Path, nights: Sequence[Path]) -> Path | None:
    """The night before tonight, if it did not get through its list. Older ones were given up."""
    earlier = [path for path in nights if path.name < tonight.name]
    return earlier[-1] if earlier and rows_to_do(earlier[-1]) else None


def rows_to_do(path: Path) -> int:
    """Rows of a state file that are not at their end."""
    with StateReader(path) as reader:
        return sum(tally.jobs for tally in reader.tallies() if tally.state not in FINAL_STATES)


def with_servers_down(paths: Iterable[Path]) -> list[Path]:
    """Those of these state files that know of servers that were stopped and are not up again.

    What is not there, or cannot be read, knows of none.
    """
    return [path for path in paths if path.exists() and _servers_down(path)]


def exported_since(path: Path, since: float) -> frozenset[tuple[TargetKey, str]]:
    """The volumes whose export began since an instant and is under way or done."""
    with StateReader(path) as reader:
        return frozenset(
            (job.target, job.volume_id)
            for job in reader.jobs({JobState.EXPORTING, JobState.SUCCEEDED})
            if job.accepted_at is not None and job.accepted_at >= since
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
    are down stays in any case.
    """
    gone = []
    for path in nights[:-keep]:
        given_up = on_unfinished is OnUnfinished.ABANDON or not rows_to_do(path)
        if given_up and not with_servers_down([path]):
            for part in path.parent.glob(f"{escape(path.name)}*"):
                part.unlink(missing_ok=True)
            gone.append(path)
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


def _servers_down(path: Path) -> int:
    try:
        with StateReader(path) as reader:
            return len(reader.servers())
    except StateError:
        return 0


def _ended_exports(path: Path) -> Iterator[tuple[int, float, float]]:
    """Size, start and end of exports."""
    try:
        with StateReader(path) as reader:
            for job in islice(reader.jobs({JobState.SUCCEEDED}), _PACE_EXPORTS):
                if job.size_gib and job.accepted_at and job.finished_at:
                    yield job.size_gib, job.accepted_at, job.finished_at
    except StateError:
        return  # what cannot be read teaches nothing; whoever needs the file will say what is wrong with it

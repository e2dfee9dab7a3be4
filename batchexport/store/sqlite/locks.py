"""Locks of the kernel on a state file, for as long as somebody works on it.

The lease in the file tells those who see the same file with the same log beside it. A file that is mounted
into a container, linked hard, or was deleted under a run is seen without: there these locks tell. One is on
the file itself, whatever path leads to it, one on its place in the folder, whatever file is there by now.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import suppress
from enum import Enum
from pathlib import Path

from batchexport.errors import StateInUseError, StateWriteError

log = logging.getLogger(__name__)

#: File systems that several hosts may share. SQLite's log works within one host alone, and some of them make
#: of `flock` what SQLite itself uses, so that a file that is locked so could not be written by its owner.
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "beegfs", "ceph", "davfs", "gfs2", "glusterfs"}
    | {"lustre", "ocfs2", "vboxsf", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs"}
)
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_MOUNTS = Path("/proc/self/mountinfo")
_ELSEWHERE = (
    "another process works on this very file through another path, as a mount into a container or a hard link"
)


class Held(Enum):
    """What locking has shown."""

    ALONE = 1  #: whoever else worked on the file on this machine has ended
    BESIDE = 2  #: somebody works in this folder on a file of this name: the lease in it tells more


class NoLocks:
    """The locks of a store that is no file: there the lease alone counts."""

    inode = None

    def acquire(self) -> Held:
        """Nothing is locked."""
        return Held.ALONE

    def release(self) -> None:
        """Nothing is locked."""

    def close(self) -> None:
        """Nothing is open."""

    def in_place(self) -> bool:
        """Nobody can move it away."""
        return True

    def free_name(self) -> None:
        """There is nothing to save."""


class Locks:
    """The locks of one open state file. Closing the file comes first: with these goes what SQLite holds."""

    def __init__(self, path: Path, *, mounts: Path = _MOUNTS) -> None:
        self._path = path.resolve()
        self.inode = inode_of(self._path)
        self._network = file_system(self._path, mounts=mounts) in NETWORK
        self._file: int | None = None
        self._place: int | None = None

    def acquire(self) -> Held:
        """Lock the file, unless it is locked. Raises StateInUseError where somebody works on it elsewhere,
        StateWriteError where the file system has no locks.
        """
        if self._place is not None:
            return Held.ALONE
        place = lock_place(self._path)
        if place is None:
            return Held.BESIDE
        self._place = place
        if self._network:
            log.warning(
                "%s is on a network file system: never let two hosts work on it, neither sees the other",
                self._path,
                extra={"action": "network_file_system", "path": str(self._path)},
            )
            return Held.ALONE
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            if not lock(self._file, self._path):
                raise StateInUseError(
                    f"{self._path}: the state file is in use: {_ELSEWHERE}",
                    hint="wait for it to end, or stop it; a state file is mounted with its whole folder",
                )
        except BaseException:
            self.release()
            raise
        return Held.ALONE

    def release(self) -> None:
        """Unlock what was locked."""
        if self._file is not None:
            # Not closed: with any descriptor that is closed, the locks of SQLite are gone.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        if self._place is not None:
            with suppress(OSError):
                place_of(self._path).unlink()
            os.close(self._place)
            self._place = None

    def close(self) -> None:
        """Unlock, and let go of the file."""
        self.release()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with suppress(StateWriteError):
            clear_place(self._path)  # of a process that was killed, where this one locked nothing

    def free_name(self) -> Path:
        """Where the file can be written anew that was taken away: its place, or one beside what is there."""
        return self._path if not self._path.exists() else self._path.with_suffix(".lost.state")

    def in_place(self) -> bool:
        """Whether the path still leads to this file: it was neither removed nor replaced."""
        return inode_of(self._path) == self.inode


def place_of(path: Path) -> Path:
    """The file that is locked for a place in a folder. It is there while somebody works."""
    return path.with_name(f".{path.name}.lock")


def check_place(path: Path) -> None:
    """Raise StateInUseError where somebody works on a state file of this name, though it is not there."""
    if not clear_place(path.resolve()):
        raise StateInUseError(
            f"{path}: a process works on a state file of this name, which was removed or moved under it",
            hint="wait for it to end, or stop it; put the file back where it was moved",
        )


def clear_place(path: Path) -> bool:
    """Remove what a killed process left of its lock on a place; False = somebody holds it."""
    if not place_of(path).exists():
        return True
    if (place := lock_place(path)) is None:
        return False
    with suppress(OSError):
        place_of(path).unlink()
    os.close(place)
    return True


def lock_place(path: Path) -> int | None:
    """The locked descriptor of the place; None = somebody else has it."""
    while True:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            place = os.open(place_of(path), flags, 0o600)
        except OSError as error:
            raise StateWriteError(
                f"{place_of(path)}: cannot make it: {error.strerror}",
                hint="the folder of a state file must be writable; name another with --state",
            ) from error
        try:
            is_ours = lock(place, path)
        except BaseException:
            os.close(place)
            raise
        if is_ours and os.fstat(place).st_ino == inode_of(place_of(path))[1]:
            return place
        os.close(place)  # removed by who had it, unless it is theirs still
        if not is_ours:
            return None


def lock(file: int, path: Path) -> bool:
    """Lock an open file for this process alone; False = another has it. Raises StateWriteError."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise StateWriteError(f"{path}: cannot lock it: {error.strerror}") from error
        raise StateWriteError(
            f"{path}: the file system of its folder has no locks (flock: {error.strerror}), and a state file"
            " needs them; nothing was started",
            hint="name a place on a local disk with --state",
        ) from error
    return True


def file_system(path: Path, *, mounts: Path = _MOUNTS) -> str | None:
    """The kind of file system that a path is on, as `ext4`; None = it cannot be told."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = "", None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = fields[4].replace("\\040", " ")
        if len(point) >= len(best) and path.is_relative_to(point):
            best, kind = point, after.split()[0]
    return kind


def inode_of(path: Path) -> tuple[int, int]:
    """What tells the file from every other, whatever paths lead to it; (0, 0) where there is none."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino

"""Files that are seen whole or not at all, and never written over a database, such as a state file."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_SQLITE_HEADER = b"SQLite format 3\0"


def check_no_database(path: Path) -> None:
    """Raise OSError where `path` is an SQLite database, or links lead to one."""
    header = b""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                header = file.read(len(_SQLITE_HEADER))
    if header == _SQLITE_HEADER:
        raise OSError(errno.EEXIST, "it is a state file, and is not written over", str(path))


#: Links that are followed one after the other, as the kernel does.
_MAX_LINKS = 40


def write_whole(path: Path, parts: Iterable[str], *, mode: int | None = None, wait: bool = True) -> None:
    """Put these parts of a text at `path` in one step, over what is there, and on the disk.

    A symbolic link stays one: the file that it names is replaced. A terminal, pipe or other character device
    is written to, and never replaced; with `wait` = False a reader who is slow is an error. A regular file
    gets the permissions `mode`, else keeps those it had. Raises OSError, also where a state file is there,
    and what making a part raises; the old file stays as it was then.
    """
    check_no_database(path)
    try:
        before = path.stat()  # what stands behind a link, also where the link names no path, as in /dev/fd
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        _write_through(path, before.st_mode, parts, wait=wait)
    else:
        _replace(_linked_file(path), parts, mode if mode or before is None else stat.S_IMODE(before.st_mode))


def _write_through(path: Path, mode: int, parts: Iterable[str], *, wait: bool) -> None:
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        words = "it is a folder" if stat.S_ISDIR(mode) else "it is neither a file nor a terminal nor a pipe"
        raise OSError(number, words, str(path))
    try:
        # Without a reader, opening a pipe would wait for one.
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "no process reads from this pipe", str(path)) from error
        raise
    os.set_blocking(handle, wait)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(parts)


def _linked_file(path: Path) -> Path:
    """The path itself, or the one that links lead to from it.

    A link of another user is not followed: whoever may write to a shared folder could aim it anywhere.
    """
    for _ in range(_MAX_LINKS):
        if not path.is_symlink():
            return path
        if path.lstat().st_uid not in (os.geteuid(), 0):
            raise OSError(errno.EPERM, "it is a symbolic link that belongs to another user", str(path))
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _replace(path: Path, parts: Iterable[str], mode: int | None) -> None:
    # Beside its place, for a rename does not cross file systems; hidden, for collectors take every *.prom;
    # of a name that nobody can guess and occupy.
    beside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(beside, flags, 0o666)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            if mode is not None:
                with suppress(PermissionError, NotImplementedError):  # file systems without permissions
                    os.fchmod(file.fileno(), mode)
            file.writelines(parts)
            file.flush()
            _sync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # the text is safe; after a power cut the old one may be there
        _sync_folder(path.parent)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # this file system has no fsync
            raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The socket by which a running run is talked to: a private folder beside its state file.

One request and one answer, each a line of JSON. Only processes of the same user, or root, are listened to: by
the permissions of the folder and of the socket, and by what the kernel says of whoever is at the other end.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: The longest line that is read.
MAX_BYTES = 65_536
_NAME = "socket"


def folder_of(state_path: Path) -> Path:
    """Where the socket of a state file stands while a run works on it."""
    return state_path.with_name(f".{state_path.name}.control")


def listening(state_path: Path) -> socket.socket:
    """A socket that listens for this run, which has the state file to itself. Raises OSError.

    What an earlier process left in its place goes: it was killed.
    """
    folder = folder_of(state_path)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _check_private(folder)
    folder.chmod(0o700)  # whatever the umask took away
    (folder / _NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(folder) as place:
            listener.bind(place)
        (folder / _NAME).chmod(0o600)
        listener.listen(8)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def remove(state_path: Path) -> None:
    """Take the socket and its folder away."""
    folder = folder_of(state_path)
    with suppress(OSError):
        (folder / _NAME).unlink(missing_ok=True)
        folder.rmdir()


def connected(state_path: Path, *, timeout_s: float) -> socket.socket:
    """A connection to the run that works on a state file. Raises OSError where none listens."""
    folder = folder_of(state_path)
    _check_private(folder)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(timeout_s)
        with _short(folder) as place:
            client.connect(place)
        if not is_of_friend(client):
            raise PermissionError(f"{folder / _NAME} belongs to another user's process")
    except BaseException:
        client.close()
        raise
    return client


def is_of_friend(connection: socket.socket | TransportSocket) -> bool:
    """Whether the process at the other end is this user's own, or root's."""
    try:
        if hasattr(socket, "SO_PEERCRED"):
            size = struct.calcsize("3i")
            _, user_id, _ = struct.unpack(
                "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            )
        else:  # macOS and the BSDs: the version, then the user's id
            local = 0
            _, user_id = struct.unpack("2I", connection.getsockopt(local, 1, 76)[:8])
    except OSError:
        return False
    return user_id in (os.geteuid(), 0)


def _check_private(folder: Path) -> None:
    """Raise OSError unless it is a real folder of this user, or of root, that nobody else can write to."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is no private folder")


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of the socket that fits into its address, which takes about 100 characters."""
    path = str(folder / _NAME)
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)

"""A PostgreSQL server of Debian's packages for tests alone: on loopback, by an unprivileged user, durable."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchexport.store.postgres.admin import initialise
from batchexport.store.postgres.reference import DatabasePath, database_path

#: Set by `.ci/run`: without a server its tests fail, and are not left out.
REQUIRED = "BATCHEXPORT_TEST_POSTGRES_REQUIRED"
_PR_SET_PDEATHSIG = 1
_PLACES = "/usr/lib/postgresql"


def why_missing() -> str | None:
    """Why no server can be had here; None = it can."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"no psycopg: {error}"
    if programs() is None:
        return f"no PostgreSQL server in {_PLACES} (apt-get install postgresql)"
    if os.geteuid() == 0 and _unprivileged() is None:
        return "no user postgres or nobody to run PostgreSQL as"
    return None


def programs() -> Path | None:
    """Where initdb and postgres are, of the newest version."""
    found = sorted(Path(_PLACES).glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    return found[-1].parent if found else None


def _unprivileged() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


class Server:
    """One server. It can be killed and started again, or be the standby of another."""

    def __init__(self, *, follows: Server | None = None, settings: str = "") -> None:
        programs_at = programs()
        assert programs_at is not None
        self._bin = programs_at
        self._user: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="batchexport-postgres-"))
        if os.geteuid() == 0:
            user = _unprivileged()
            assert user is not None
            self._user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.data = self.folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if follows is None:
            self._run(
                "initdb", "-D", self.data, "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"
            )
        else:
            self._run(
                "pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-d", follows.address
            )
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"\nlisten_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                f"max_connections = 100\nshared_buffers = 32MB\nfsync = on\n{settings}\n"
            )
        self.start()

    @property
    def address(self) -> str:
        """Of its first database, for the user who may do anything."""
        return f"postgresql://admin@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", self.data],
            stdout=log,
            stderr=log,
            cwd="/",
            preexec_fn=_end_with_the_test,
            **self._user,
        )
        log.close()
        self.wait()

    def wait(self) -> None:
        """Wait until it answers, half a minute at most."""
        import psycopg

        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.05)

    def crash(self) -> None:
        """Kill it as a power cut would, with every process of it."""
        assert self._process is not None
        children = _children(self._process.pid)
        self._process.send_signal(signal.SIGKILL)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop_following(self) -> None:
        """A standby hears of nothing more."""
        self.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
        self.sql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 20
        while self.sql("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def promote(self) -> None:
        """Make a standby the first."""
        self._run("pg_ctl", "promote", "-w", "-D", self.data)

    def stop(self) -> None:
        """Stop it, and remove what it had."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self, name: str) -> DatabasePath:
        """An empty database, prepared for runs."""
        self.sql(f'CREATE DATABASE "{name}"')
        path = database_path(f"postgresql://admin@127.0.0.1:{self.port}/{name}")
        assert initialise(path)
        return path

    def sql(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement gives, past the code under test."""
        import psycopg

        with psycopg.connect(f"postgresql://admin@127.0.0.1:{self.port}/{database}", autocommit=True) as db:
            cursor = db.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            **self._user,
        )
        assert done.returncode == 0, done.stderr


def _end_with_the_test() -> None:
    """In the child: a test that is killed leaves no server."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

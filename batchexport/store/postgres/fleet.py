"""What workers share through a database: which runs are submitted, who holds what, and who is there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from batchexport.errors import ConfigError, StateError, StateInUseError
from batchexport.identity import CloudIdentity
from batchexport.model import JobState, TargetKey
from batchexport.store.fleet import WORKER_LEASE_S, RunTarget, Standing, SubmittedRun, WorkerRecord
from batchexport.store.postgres.address import connect, driver
from batchexport.store.postgres.connection import CATALOGUE, NEWS, catalogue, check_version
from batchexport.store.postgres.postgres_errors import is_lost, translated
from batchexport.store.postgres.reference import DatabasePath
from batchexport.store.sqlite.lease import owner_from
from batchexport.store.sqlite.schema import IS_OUTSTANDING
from batchexport.version import __version__

if TYPE_CHECKING:
    import psycopg

_NOW = "extract(epoch FROM clock_timestamp())::float8"
_RUNS = f"""
    SELECT run_name, schema_name, plan, standing, note, failed_before FROM {CATALOGUE}.run
    WHERE plan IS NOT NULL AND (standing <> 'ended' OR %s) ORDER BY run_no LIMIT 1000"""
_TARGETS = f"""
    SELECT %s, target_id, cloud, region, project, owner, lease_until - {_NOW},
        (SELECT json_object_agg(state, jobs)::text FROM {{place}}.tally
            WHERE tally.target_id = target.target_id AND jobs > 0),
        (SELECT count(*) FROM {{place}}.resource
            WHERE resource.target_id = target.target_id AND {IS_OUTSTANDING}),
        (SELECT row_to_json(known)::text FROM {{place}}.target_identity AS known
            WHERE known.target_id = target.target_id)
    FROM {{place}}.target"""
_WORKERS = f"""
    SELECT worker_name, host, pid, version, clouds, slots, began_at, {_NOW} - seen_at, lease_until - {_NOW},
        is_draining, note
    FROM {CATALOGUE}.worker ORDER BY worker_name"""
_JOIN = f"""
    INSERT INTO {CATALOGUE}.worker
        (worker_name, host, pid, version, clouds, slots, began_at, seen_at, lease_until)
    VALUES (%(name)s, %(host)s, %(pid)s, %(version)s, %(clouds)s, %(slots)s, {_NOW}, {_NOW}, {_NOW} + %(ttl)s)
    ON CONFLICT (worker_name) DO UPDATE SET host = excluded.host, pid = excluded.pid,
        version = excluded.version, clouds = excluded.clouds, slots = excluded.slots,
        began_at = excluded.began_at, seen_at = excluded.seen_at, lease_until = excluded.lease_until,
        is_draining = false
    WHERE worker.lease_until < {_NOW} OR (worker.host, worker.pid) = (excluded.host, excluded.pid)
    RETURNING worker_name"""
_BEAT = f"""
    UPDATE {CATALOGUE}.worker SET seen_at = {_NOW}, lease_until = {_NOW} + %s, clouds = %s, note = %s
    WHERE worker_name = %s AND host = %s AND pid = %s RETURNING is_draining"""
_LEAVE = f"DELETE FROM {CATALOGUE}.worker WHERE worker_name = %s AND host = %s AND pid = %s"
#: Long gone, and never seen again.
_FORGET = f"DELETE FROM {CATALOGUE}.worker WHERE seen_at < {_NOW} - 86400"
_DRAIN = f"""
    UPDATE {CATALOGUE}.worker SET is_draining = true
    WHERE (worker_name = %(name)s OR host = %(host)s) AND lease_until > {_NOW} RETURNING worker_name"""
_SUBMIT = f"""
    UPDATE {CATALOGUE}.run SET plan = %s, standing = 'running', note = NULL, failed_before = %s
    WHERE run_name = %s"""
_STAND = f"""
    UPDATE {CATALOGUE}.run SET standing = %s, note = %s
    WHERE run_name = %s AND plan IS NOT NULL AND standing = ANY(%s) RETURNING 1"""
_CONTINUE = f"UPDATE {CATALOGUE}.run SET failed_before = %s WHERE run_name = %s"
_IS_SUBMITTED = f"SELECT plan IS NOT NULL FROM {CATALOGUE}.run WHERE run_name = %s"
_TELL = "SELECT pg_notify(%s, %s)"


def submitted_runs(path: DatabasePath, *, with_ended: bool = True) -> list[SubmittedRun]:
    """The runs that are submitted to workers, in the order in which they came. Raises StateError."""
    with catalogue(path, doing="look at its runs") as db:
        check_version(db, path)
        return _runs(db, with_ended=with_ended)


def workers(path: DatabasePath) -> list[WorkerRecord]:
    """All workers that were heard of within a day. Raises StateError."""
    with catalogue(path, doing="look at its workers") as db:
        check_version(db, path)
        return [_worker(row) for row in db.execute(_WORKERS).fetchall()]


def submit(path: DatabasePath, plan: str) -> None:
    """Let workers work on a run that is there, in this way. Raises StateError."""
    with catalogue(path, doing="submit the run") as db:
        db.execute(_SUBMIT, (plan, _failed(db, path), path.run_name))
        db.execute(_TELL, (NEWS, path.run_name))


def is_submitted(path: DatabasePath) -> bool:
    """Whether workers work on the run. Raises StateError where it cannot be asked."""
    with catalogue(path, doing="look for the run") as db:
        check_version(db, path)
        row = db.execute(_IS_SUBMITTED, (path.run_name,)).fetchone()
        return bool(row and row[0])


def pause(path: DatabasePath, *, note: str | None = None) -> bool:
    """Let nothing new begin; False = the run has ended, or is paused already. Raises StateError."""
    return _stand(path, Standing.PAUSED, note, of=(Standing.RUNNING,))


def resume(path: DatabasePath) -> bool:
    """Let a run go on that was paused, or has rows to do again; False = it was going on already."""
    done = _stand(path, Standing.RUNNING, None, of=(Standing.PAUSED, Standing.ENDED))
    if done:
        with catalogue(path, doing="continue the run") as db:
            db.execute(_CONTINUE, (_failed(db, path), path.run_name))
    return done


def cancel(path: DatabasePath) -> bool:
    """Let workers end the rows for which nothing is under way; False = the run has ended, or is cancelled."""
    return _stand(path, Standing.CANCELLED, None, of=(Standing.RUNNING, Standing.PAUSED))


def end(path: DatabasePath, *, note: str | None = None) -> bool:
    """Note that nothing of the run is left to do. Raises StateError."""
    return _stand(path, Standing.ENDED, note, of=(Standing.RUNNING, Standing.PAUSED, Standing.CANCELLED))


def drain(path: DatabasePath, *, worker_name: str | None, host: str | None) -> list[str]:
    """Ask these workers to hand over and end; the names of those that are there. Raises StateError."""
    with catalogue(path, doing="drain a worker") as db:
        check_version(db, path)
        names = [row[0] for row in db.execute(_DRAIN, {"name": worker_name, "host": host}).fetchall()]
        db.execute(_TELL, (NEWS, "drain"))
        return sorted(names)


class Membership:
    """One worker as a member of the fleet, by two connections: one asks, the other hears of news.

    For one thread at a time, but for `fileno` and `has_news`, which are for the event loop.
    """

    def __init__(self, path: DatabasePath, *, worker_name: str, slots: int) -> None:
        self.path = path
        self.worker_name = worker_name
        self.slots = slots
        self._me = (socket.gethostname(), os.getpid())
        self._errors: type[psycopg.Error] = driver().Error
        self._db: psycopg.Connection[tuple[Any, ...]] | None = None
        self._news: psycopg.Connection[tuple[Any, ...]] | None = None

    def join(self, clouds: Iterable[str]) -> None:
        """Become known. Raises StateInUseError where a worker of this name is alive, StateError."""
        host, pid = self._me
        values = {
            "name": self.worker_name,
            "host": host,
            "pid": pid,
            "version": __version__,
            "clouds": _as_json(clouds),
            "slots": self.slots,
            "ttl": WORKER_LEASE_S,
        }
        with catalogue(self.path, doing="join its workers") as db:
            check_version(db, self.path)
            db.execute(_FORGET)
            if db.execute(_JOIN, values).fetchone() is None:
                raise StateInUseError(
                    f"{self.path.database}: a worker called {self.worker_name} is there already",
                    hint="name this one with --name, or wait until the other was not heard of for"
                    f" {WORKER_LEASE_S:.0f} s",
                )

    def look(self, clouds: Sequence[str], note: str | None = None) -> tuple[bool, list[SubmittedRun]]:
        """A sign of life: whether this worker is to end, and the runs that have not ended. Raises StateError.

        `note` tells people of its last trouble; None = it has none.
        """
        try:
            try:
                return self._look(clouds, note)
            except self._errors as error:
                if not is_lost(error):
                    raise
                self._close_asking()
                return self._look(clouds, note)
        except self._errors as error:
            raise translated(error, self.path, "look for work") from error

    def _look(self, clouds: Sequence[str], note: str | None) -> tuple[bool, list[SubmittedRun]]:
        if self._db is None or self._db.closed:
            self._db = connect(self.path, target_session_attrs="read-write")
            self._db.execute("SET statement_timeout = '15s'")
            check_version(self._db, self.path)
        host, pid = self._me
        values = (WORKER_LEASE_S, _as_json(clouds), note, self.worker_name, host, pid)
        if (row := self._db.execute(_BEAT, values).fetchone()) is None:
            self.join(clouds)  # it was forgotten meanwhile
            row = (False,)
        return bool(row[0]), _runs(self._db, with_ended=False)

    def listen(self) -> int | None:
        """The descriptor that can be read when there may be news; None = not now: only looking tells."""
        self.stop_listening()
        try:
            self._news = connect(self.path)
            self._news.execute(f"LISTEN {NEWS}")
            return self._news.fileno()
        except self._errors:
            self.stop_listening()
            return None

    def has_news(self) -> bool | None:
        """Whether something happened since; None = the connection is lost. Does not block."""
        found = False
        try:
            if self._news is None:
                return None
            wire = self._news.pgconn
            wire.consume_input()
            while wire.notifies() is not None:
                found = True
        except self._errors:
            return None
        return found

    def stop_listening(self) -> None:
        """Let go of the connection that hears of news."""
        if self._news is not None:
            with suppress(self._errors):
                self._news.close()
        self._news = None

    def leave(self) -> None:
        """Be known no longer; does what it can where the database is away."""
        self.stop_listening()
        self._close_asking()
        with suppress(StateError), catalogue(self.path, doing="leave its workers") as db:
            db.execute(_LEAVE, (self.worker_name, *self._me))
            db.execute(_TELL, (NEWS, "free"))

    def _close_asking(self) -> None:
        if self._db is not None:
            with suppress(self._errors):
                self._db.close()
        self._db = None


def _stand(path: DatabasePath, standing: Standing, note: str | None, *, of: Sequence[Standing]) -> bool:
    with catalogue(path, doing="change how the run stands") as db:
        check_version(db, path)
        if not (row := db.execute(_IS_SUBMITTED, (path.run_name,)).fetchone()) or not row[0]:
            raise ConfigError(
                f"{path}: this run was not submitted to workers",
                hint=f"`batchexport submit LIST --state {path}` does that",
            )
        done = db.execute(_STAND, (standing, note, path.run_name, [str(each) for each in of])).fetchone()
        db.execute(_TELL, (NEWS, path.run_name))
        return done is not None


def _failed(db: psycopg.Connection[tuple[Any, ...]], path: DatabasePath) -> int:
    row = db.execute(
        f"SELECT schema_name FROM {CATALOGUE}.run WHERE run_name = %s", (path.run_name,)
    ).fetchone()
    if row is None:
        raise StateError(f"{path}: no such run")
    counted = db.execute(
        f"SELECT coalesce(sum(jobs), 0)::bigint FROM {row[0]}.tally WHERE state = 'failed'"
    ).fetchone()
    return 0 if counted is None else int(counted[0])


def _runs(db: psycopg.Connection[tuple[Any, ...]], *, with_ended: bool) -> list[SubmittedRun]:
    runs = db.execute(_RUNS, (with_ended,)).fetchall()
    if not runs:
        return []
    statement = " UNION ALL ".join(_TARGETS.format(place=row[1]) for row in runs)
    targets: dict[str, list[RunTarget]] = {row[0]: [] for row in runs}
    try:
        rows = db.execute(f"{statement} ORDER BY 1, 2", [row[0] for row in runs]).fetchall()
    except (driver().errors.UndefinedTable, driver().errors.InvalidSchemaName):
        return []  # a run was dropped meanwhile: the next look tells
    for run_name, *row in rows:
        targets[run_name].append(_target(row))
    return [
        SubmittedRun(
            run_name=row[0],
            plan=row[2],
            standing=Standing(row[3]),
            note=row[4],
            failed_before=row[5],
            targets=targets[row[0]],
        )
        for row in runs
    ]


def _target(row: Sequence[Any]) -> RunTarget:
    target_id, cloud, region, project, owner, left_s, jobs, resources, identity = row
    return RunTarget(
        target_id=target_id,
        key=TargetKey(cloud, region, project),
        identity=None if identity is None else _identity(msgspec.json.decode(identity)),
        owner=owner_from(owner),
        lease_left_s=left_s,
        jobs={} if jobs is None else msgspec.json.decode(jobs, type=dict[JobState, int]),
        resources=resources,
    )


def _identity(known: dict[str, Any]) -> CloudIdentity:
    fields = {name: known.get(name) for name in CloudIdentity.__struct_fields__}
    return msgspec.convert({**fields, "is_sandbox": bool(known.get("is_sandbox"))}, CloudIdentity)


def _worker(row: Sequence[Any]) -> WorkerRecord:
    values = dict(zip(WorkerRecord.__struct_fields__, row, strict=True))
    return WorkerRecord(**{**values, "clouds": tuple(msgspec.json.decode(values["clouds"]))})


def _as_json(clouds: Iterable[str]) -> str:
    return msgspec.json.encode(sorted(clouds)).decode()

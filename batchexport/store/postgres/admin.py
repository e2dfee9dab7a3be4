"""The database as such: prepared by its owner, brought to a newer format, and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from batchexport.errors import StateError, StateVersionError
from batchexport.store.postgres import fleet_schema, schema
from batchexport.store.postgres.address import driver
from batchexport.store.postgres.connection import CATALOGUE, VERSION, catalogue, check_version
from batchexport.store.postgres.reference import DatabasePath

if TYPE_CHECKING:
    import psycopg

#: Held by whoever changes tables: two at once would make one thing twice.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('batchexport.schema'))"
_IS_PREPARED = f"SELECT to_regclass('{CATALOGUE}.version') IS NOT NULL"
_HAS_ROLE = "SELECT 1 FROM pg_roles WHERE rolname = %s"
_OLDEST_SERVER = 130000

#: Statements that lead from the format of their key to the next, for the list of runs, and for each run.
STEPS: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {1: (fleet_schema.STATEMENTS, ())}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about a database that was looked at."""

    words: str
    is_unsafe: bool = False  #: work on it could make two images, or lose what was done
    is_warning: bool = False


def initialise(path: DatabasePath) -> bool:
    """Prepare the database for runs; False = it was prepared already. Raises StateError."""
    with catalogue(path, doing="prepare it") as db, db.transaction():
        db.execute(_LOCK)
        if _one(db, _IS_PREPARED):
            return False
        _make_roles(db, path)
        for statement in schema.catalogue_statements():
            db.execute(statement)
        return True


def upgrade(path: DatabasePath) -> tuple[int, int]:
    """Bring the database to the format of this program, whole or not at all; the formats before and after.

    Raises StateError, StateVersionError where it was never prepared or is of a newer program.
    """
    with catalogue(path, doing="upgrade it") as db, db.transaction():
        db.execute(_LOCK)
        if not _one(db, _IS_PREPARED):
            check_version(db, path)
        found = int(_one(db, f"SELECT max(version) FROM {CATALOGUE}.version"))
        if found > VERSION:
            raise StateVersionError(
                f"{path.database}: its tables are of format {found}, this batchexport knows {VERSION}",
                hint="use the newer version",
            )
        for version in range(found, VERSION):
            _step(db, version)
        return found, VERSION


def check(path: DatabasePath) -> list[Finding]:
    """What is to be known before runs are trusted to the database. Raises StateError where it is no use."""
    with catalogue(path, doing="check it") as db:
        check_version(db, path)
        findings = [Finding(words=f"tables of format {VERSION}, as this program needs them")]
        version = int(_one(db, "SELECT current_setting('server_version_num')::int"))
        words = f"PostgreSQL {_one(db, 'SHOW server_version')}"
        findings.append(
            Finding(
                words=words if version >= _OLDEST_SERVER else f"{words}: 13 or newer is needed",
                is_unsafe=version < _OLDEST_SERVER,
            )
        )
        findings += [_durable(db, name) for name in ("fsync", "full_page_writes", "synchronous_commit")]
        findings += [_encoding(db), _standby(db)]
        if not _one(db, f"SELECT pg_has_role('{fleet_schema.WORKER}', 'MEMBER')"):
            findings.append(
                Finding(
                    words=f"this user may look, not work: it is no member of {fleet_schema.WORKER}",
                    is_warning=True,
                )
            )
        return findings


def run_count(path: DatabasePath) -> int:
    """How many runs are kept."""
    with catalogue(path, doing="count its runs") as db:
        return int(_one(db, f"SELECT count(*) FROM {CATALOGUE}.run"))


def _durable(db: psycopg.Connection[tuple[Any, ...]], name: str) -> Finding:
    value = str(_one(db, f"SHOW {name}"))
    if value not in ("off", "local"):
        return Finding(words=f"{name} is {value}")
    if value == "local":
        return Finding(words=f"{name} is local: a standby may miss what was acknowledged", is_warning=True)
    return Finding(
        words=f"{name} is off: a crash takes back what was acknowledged, and rows would be sent twice",
        is_unsafe=name != "synchronous_commit",  # this program sets that for itself
        is_warning=name == "synchronous_commit",
    )


def _encoding(db: psycopg.Connection[tuple[Any, ...]]) -> Finding:
    value = str(_one(db, "SHOW server_encoding"))
    if value in ("UTF8", "SQL_ASCII"):
        return Finding(words=f"server_encoding is {value}")
    return Finding(
        words=f"server_encoding is {value}: names with other characters are refused; UTF8 takes all",
        is_warning=True,
    )


def _standby(db: psycopg.Connection[tuple[Any, ...]]) -> Finding:
    if str(_one(db, "SHOW synchronous_standby_names")):
        return Finding(words="a synchronous standby is asked for")
    standbys = int(_one(db, "SELECT count(*) FROM pg_stat_replication"))
    if not standbys:
        return Finding(words="no standby is seen: while this server is down, nothing goes on")
    return Finding(
        words="a standby is asynchronous: after a failover work stops, and every pending volume's image is"
        " looked for by name (synchronous_standby_names prevents that)",
        is_warning=True,
    )


def _make_roles(db: psycopg.Connection[tuple[Any, ...]], path: DatabasePath) -> None:
    errors = driver().errors
    for role in schema.ROLES:
        if db.execute(_HAS_ROLE, (role,)).fetchone() is None:
            try:
                db.execute(f"CREATE ROLE {role} NOLOGIN")
            except errors.InsufficientPrivilege as error:
                raise StateError(
                    f"{path.database}: this user may make no roles",
                    hint="as an administrator: "
                    + " ".join(f"CREATE ROLE {each} NOLOGIN;" for each in schema.ROLES),
                ) from error


def _step(db: psycopg.Connection[tuple[Any, ...]], version: int) -> None:
    of_catalogue, of_run = STEPS[version]
    for statement in of_catalogue:
        db.execute(statement)
    for (place,) in db.execute(f"SELECT schema_name FROM {CATALOGUE}.run").fetchall():
        db.execute("SELECT set_config('search_path', %s, true)", (place,))
        for statement in of_run:
            db.execute(statement)
    db.execute(
        f"INSERT INTO {CATALOGUE}.version (version, oldest_program) VALUES (%s, %s)", (version + 1, version)
    )


def _one(db: psycopg.Connection[tuple[Any, ...]], statement: str) -> Any:
    row = db.execute(statement).fetchone()
    return None if row is None else row[0]

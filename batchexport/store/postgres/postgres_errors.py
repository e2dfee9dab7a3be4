"""PostgreSQL's errors in the words of this program: the one place where they are translated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchexport.errors import StateError, StateVersionError, StateWriteError

if TYPE_CHECKING:
    import psycopg

    from batchexport.store.postgres.reference import DatabasePath

#: Classes of SQLSTATE that pass by themselves: connection, resources, intervention by an operator, system.
_PASSING_CLASSES = frozenset({"08", "53", "57", "58"})
#: A deadlock, a lock that took too long, a transaction that stood still, and a server that only reads: after
#: a failover another takes its place.
_PASSING = frozenset({"40001", "40P01", "55P03", "25P03", "25P04", "25006"})
_NO_RIGHTS = "42501"
_NO_TABLE = frozenset({"42P01", "3F000", "42883", "42703"})


def is_lost(fault: psycopg.Error) -> bool:
    """Whether the connection is gone, and with it whatever was not committed."""
    import psycopg

    state = fault.sqlstate
    if state is None:
        return isinstance(fault, (psycopg.OperationalError, psycopg.InterfaceError))
    return state[:2] in ("08", "57") or state in ("25P03", "25P04")


def is_passing(fault: psycopg.Error) -> bool:
    """Whether the same may succeed later."""
    return is_lost(fault) or (
        fault.sqlstate is not None and (fault.sqlstate[:2] in _PASSING_CLASSES or fault.sqlstate in _PASSING)
    )


def translated(fault: psycopg.Error, path: DatabasePath, doing: str) -> StateError:
    """The error to raise instead, for the run at `path`; `doing` completes "cannot …"."""
    words = " ".join(str(fault).split()) or type(fault).__name__
    message = f"{path}: cannot {doing}: {words}"
    if is_passing(fault):
        return StateWriteError(
            message,
            hint="see that the database runs, can be reached and takes changes, then run the same command"
            " again: anything sent since is looked up in the cloud first",
        )
    if fault.sqlstate == _NO_RIGHTS:
        return StateError(
            message, hint="the user needs the role batchexport_worker, or batchexport_reader to look only"
        )
    if fault.sqlstate in _NO_TABLE:
        return StateVersionError(
            message, hint=f"`batchexport db check {path.database}` tells whether the database is prepared"
        )
    return StateError(message)

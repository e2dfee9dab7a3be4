"""How a database is connected to: safe by default, and with no secret on a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from batchexport.errors import ConfigError
from batchexport.store.postgres.reference import DatabasePath, database_path, is_database

if TYPE_CHECKING:
    import psycopg

#: Names the database where no --state does; unlike an option, `ps` does not show it to other users.
VARIABLE = "BATCHEXPORT_DATABASE"

_SYSTEM_CERTIFICATES = 160000
#: A server that is gone is noticed in as many seconds, and not after the kernel's two hours.
_ALIVE = {
    "connect_timeout": "20",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
#: A database without an encoding (`initdb` with the locale C) would hand out bytes.
_TEXT = {"client_encoding": "UTF8"}


def driver() -> Any:
    """The module psycopg. Raises ConfigError where it is not installed."""
    try:
        import psycopg
    except ImportError as error:
        raise ConfigError(
            f"a run in a database needs psycopg ({error})", hint="pip install 'batchexport[postgres]'"
        ) from error
    return psycopg


def database_of(environment: Mapping[str, str] = os.environ) -> DatabasePath | None:
    """The database that BATCHEXPORT_DATABASE names; None = none. Raises ConfigError for one that is none."""
    text = environment.get(VARIABLE)
    if not text:
        return None
    if not is_database(text):
        raise ConfigError(f"{VARIABLE} is no address of a database", hint="it begins with postgresql://")
    known = _parsed(text)
    host, name = known.get("host") or known.get("hostaddr"), known.get("dbname")
    if not host or not name:
        raise ConfigError(f"{VARIABLE} names no host or no database", hint="postgresql://USER@HOST/DATABASE")
    user = f"{_quoted(known['user'])}@" if known.get("user") else ""
    port = f":{known['port']}" if known.get("port") else ""
    return database_path(f"postgresql://{user}{_quoted(host)}{port}/{_quoted(name)}")


def conninfo(path: DatabasePath, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What psycopg connects with: the address, what BATCHEXPORT_DATABASE adds to it, and safe defaults.

    A server on another host is to prove who it is (`sslmode=verify-full`) unless the variable, or PGSSLMODE,
    says otherwise.
    """
    named = database_of(environment)
    if named is not None and named.database == path.database:
        known = _parsed(environment[VARIABLE])
    else:
        known = _parsed(path.database)
    if "sslmode" not in known and "PGSSLMODE" not in environment and not _is_here(known.get("host", "")):
        known["sslmode"] = "verify-full"
        if _knows_system() and "sslrootcert" not in known and "PGSSLROOTCERT" not in environment:
            known["sslrootcert"] = "system"
    return {**_ALIVE, **_TEXT, "application_name": "batchexport", **known}


def connect(path: DatabasePath, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
    """A new connection in autocommit. Raises psycopg.Error."""
    connection: psycopg.Connection[tuple[Any, ...]] = driver().connect(
        **conninfo(path), autocommit=True, **options
    )
    return connection


def _parsed(text: str) -> dict[str, str]:
    psycopg = driver()
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except psycopg.ProgrammingError as error:
        # libpq repeats the text, which may hold a password.
        raise ConfigError("the address of the database cannot be read") from error


def _knows_system() -> bool:
    """Whether this libpq can take the certificates of the system: since version 16."""
    return int(driver().pq.version()) >= _SYSTEM_CERTIFICATES


def _is_here(hosts: str) -> bool:
    """Whether all of these hosts, of which there may be several, are this machine."""
    return all(_is_loopback(host) for host in hosts.split(","))


def _is_loopback(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe=":[]")

"""A run that is kept in a PostgreSQL database, named like a file: `postgresql://user@host/database/run`.

The database stands where a folder does, and the run where its state file does, so that whatever has a path
for the state of a run can have one of these. What it cannot do is be opened as a file.
"""

from __future__ import annotations

import re
from pathlib import Path, PosixPath
from typing import Self
from urllib.parse import urlsplit

from batchexport.errors import ConfigError

SCHEMES = ("postgresql:", "postgres:")
#: What a run may be called: it is shown, typed, and part of the names of files.
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class DatabasePath(PosixPath):
    """A run in a database, or the database itself. Compare and show it as any path."""

    __slots__ = ()

    def __str__(self) -> str:
        """The address as it is given, with both slashes."""
        scheme, _, rest = super().__str__().partition("/")
        return f"{scheme}//{rest}"

    def __fspath__(self) -> str:
        return str(self)

    def __hash__(self) -> int:
        return super().__hash__()

    @property
    def database(self) -> str:
        """The address of the database alone."""
        return str(type(self)(*self.parts[:3]))

    @property
    def run_name(self) -> str:
        """What the run is called in it; empty = none is named."""
        return self.parts[3] if len(self.parts) > 3 else ""

    def exists(self) -> bool:
        """Whether the database has this run. Raises StateError where it cannot be asked."""
        from batchexport.store.postgres import load

        return bool(self.run_name) and load.exists(self)

    def resolve(self, strict: bool = False) -> Self:
        """Itself: there are no links."""
        return self

    def absolute(self) -> Self:
        """Itself: it depends on no folder."""
        return self

    def with_name(self, name: str) -> Path:  # type: ignore[override]  # what is beside it is a file
        """A file beside the run: databases hold none, so it is in the current folder."""
        return Path(name)


def is_database(text: str) -> bool:
    """Whether this names a database, and no file."""
    return text.startswith(SCHEMES)


def database_path(text: str) -> DatabasePath:
    """The run or the database that this address names. Raises ConfigError, which repeats no password."""
    parts = urlsplit(text)
    try:
        password, host = parts.password, parts.hostname
    except ValueError as error:
        raise ConfigError(f"the address of the database cannot be read: {error}") from error
    if password is not None:
        raise ConfigError(
            "the address of the database holds a password, which every user of this machine could read",
            hint="put it into a file that PGPASSFILE names (~/.pgpass), or use a client certificate",
        )
    if parts.query or parts.fragment:
        raise ConfigError(
            f"{_shown(text)}: options of the connection do not belong in the address of a run",
            hint="give them as libpq's variables (PGSSLMODE, PGSSLROOTCERT, PGPASSFILE), or all of the"
            " address in BATCHEXPORT_DATABASE",
        )
    names = [name for name in parts.path.split("/") if name]
    if not host or not names or len(names) > 2:
        raise ConfigError(
            f"{_shown(text)}: is no address of a run in a database",
            hint="it is postgresql://USER@HOST/DATABASE/RUN; a folder with the server's socket is given as"
            " its host, with %2F for each slash",
        )
    if len(names) == 2 and not _RUN_NAME.fullmatch(names[1]):
        raise ConfigError(
            f"{names[1]!r}: a run cannot be called so",
            hint="letters, digits, `_`, `.` and `-`, at most 63, and the first a letter or a digit",
        )
    # As it is written: a folder with the server's socket may have capitals.
    return DatabasePath("postgresql:", parts.netloc, *names)


def _shown(text: str) -> str:
    return text.partition("?")[0]

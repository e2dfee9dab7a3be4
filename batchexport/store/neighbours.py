"""Other state files of the folder: which servers they have stopped, for one server may serve two lists."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec

from batchexport.errors import StateError
from batchexport.store.lease import LEASE_S, owner_from
from batchexport.store.opening import open_for_reading
from batchexport.store.owner import is_alive, this_process
from batchexport.store.schema import IS_AFOOT

log = logging.getLogger(__name__)

#: So many of the files that changed last are looked at: a folder of nights keeps hundreds.
MAX_FILES = 100

_STOPPED = f"""
    SELECT server_id, owner, lease_until, (SELECT run_id FROM run)
    FROM server JOIN target USING (target_id)
    WHERE {IS_AFOOT}"""


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """The state file that a server was stopped by, when it is not our own."""

    path: Path
    run_id: str
    is_working: bool  #: a process works on it, or may: it will start the server


def down_elsewhere(path: Path) -> dict[str, Elsewhere]:
    """The servers that other state files (`*.state`) beside `path` have stopped and not yet started, by id.

    Files that cannot be read are passed over: nothing is known of them.
    """
    found: dict[str, Elsewhere] = {}
    for other in _others(path):
        try:
            for server_id, elsewhere in _stopped_by(other):
                if server_id not in found or elsewhere.is_working:
                    found[server_id] = elsewhere
        except (StateError, sqlite3.Error, OSError) as error:
            log.debug("%s was passed over: %s", other, error)
    return found


def _others(path: Path) -> list[Path]:
    own = path.resolve()
    dated: list[tuple[float, Path]] = []
    for other in path.resolve().parent.glob("*.state"):
        try:
            if other.resolve() != own and other.is_file():
                dated.append((other.stat().st_mtime, other))
        except OSError:
            continue
    return [other for _, other in sorted(dated, reverse=True)[:MAX_FILES]]


def _stopped_by(path: Path) -> list[tuple[str, Elsewhere]]:
    now = time.time()
    here = this_process(now=now)
    with closing(open_for_reading(path)) as db:
        rows = db.execute(_STOPPED).fetchall()
    stopped = []
    for server_id, text, lease_until, run_id in rows:
        owner = owner_from(text)
        alive = False if owner is None else is_alive(owner, here=here)
        is_working = lease_until + LEASE_S > now if alive is None else alive
        stopped.append((server_id, Elsewhere(path=path, run_id=run_id, is_working=is_working)))
    return stopped

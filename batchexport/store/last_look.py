"""What a state file that can be written no more still tells: which servers are down, and for which rows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from batchexport.store import servers
from batchexport.store.faults import reading
from batchexport.store.lease import Lease
from batchexport.store.opening import open_for_reading
from batchexport.store.records import AfootServer, LinkedRow


class LeftDown(msgspec.Struct, frozen=True, kw_only=True):
    """The servers of one target that are not up, as the file has them."""

    servers: list[AfootServer]
    rows: list[LinkedRow]  #: that hang on them, and are not at their end
    volume_ids: frozenset[str]  #: of all rows that hang on them


def left_down(path: Path, held: Lease) -> LeftDown | None:
    """The servers that are not up; None where another process has taken the target over.

    Raises StateError where the file cannot be read either.
    """
    with closing(open_for_reading(path)) as db, reading(path):
        (epoch,) = db.execute("SELECT epoch FROM target WHERE target_id = ?", (held.target_id,)).fetchone()
        if epoch != held.epoch:
            return None
        afoot = servers.afoot(db, held.target_id)
        server_ids = [server.server_id for server in afoot]
        return LeftDown(
            servers=afoot,
            rows=servers.rows_of(db, held.target_id, server_ids),
            volume_ids=servers.volumes_of(db, held.target_id, server_ids),
        )

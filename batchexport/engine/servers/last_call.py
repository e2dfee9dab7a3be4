"""When the state file can be written no more: servers whose volumes are free are started all the same.

To start a server twice does no harm, so this needs no record: the file says `down`, and the next process
finds the server running.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud, cloud_name
from batchexport.engine.servers.copies import Copies
from batchexport.engine.servers.moves import Fit, fit_of, named
from batchexport.errors import BatchExportError, CloudError, StateError
from batchexport.model import JobState, Server
from batchexport.shell_command import on_state_file
from batchexport.store import AfootServer, LeftDown, Work

log = logging.getLogger(__name__)

#: The run is over; only for so long it tries to bring up what it can.
WITHIN_S = 60.0
ASK_EVERY_S = 5.0


async def last_call(cloud: Cloud, work: Work, ledger: Ledger) -> str | None:
    """Start the servers that no row under way needs down, as far as that goes within a minute.

    Returns which servers are not known to be up, and what starts them; None where there are none.
    """
    try:
        left = work.left_down()
    except StateError as error:
        return f"servers may be down (cannot read which: {error})"
    if left is None or not left.servers:
        return None
    busy = _busy(left, ledger)
    waiting = {server.server_id: server for server in left.servers if server.server_id not in busy}
    asked: list[AfootServer] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            copies = Copies(cloud, work, ledger, own=left.volume_ids)
            while waiting:
                started = await _start(cloud, ledger, copies, list(waiting))
                asked += [waiting.pop(server_id) for server_id in started]
                if waiting:
                    await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        log.warning("not every server could be asked to start in time")
    except BatchExportError as error:
        log.warning("not every server could be asked to start (%s)", error)
    return _words(asked, [server for server in left.servers if server not in asked], cloud, work)


def _busy(left: LeftDown, ledger: Ledger) -> set[str]:
    """The servers whose volumes are being copied, as far as memory knows better than the file."""
    exporting = {job.job_id for job in ledger.exporting.values()} - ledger.to_confirm.keys()
    under_way = exporting | ledger.in_doubt.keys() | ledger.sending
    return {
        server_id
        for row in left.rows
        if row.state is not JobState.PENDING and row.job.job_id in under_way
        for server_id in row.server_ids
    }


async def _start(cloud: Cloud, ledger: Ledger, copies: Copies, server_ids: Sequence[str]) -> list[str]:
    """Those of these that took the order to start, or need none."""
    found: dict[str, Server] = {}
    try:
        async for page in cloud.compute.servers(server_ids):
            found.update((server.server_id, server) for server in page)
        free = await copies.free(server_ids, found)
        up = [each for each in free if fit_of(found.get(each)) not in (Fit.OFF, Fit.UNSEEN)]
        down = [each for each in free if each not in up]
        failed = await cloud.compute.start_servers(down, fence=ledger.work.check_owned) if down else {}
    except CloudError as error:
        log.warning("cannot start servers (%s)", error)
        return []
    for server_id, why in failed.items():
        log.warning("server %s: the order was not taken (%s)", server_id, why)
    return [each for each in free if each not in failed]


def _words(asked: Sequence[AfootServer], left: Sequence[AfootServer], cloud: Cloud, work: Work) -> str:
    parts = []
    if asked:
        parts.append(f"servers asked to start, not seen up: {', '.join(map(named, asked))}")
    if left:
        parts.append(f"servers still down: {', '.join(map(named, left))}")
    start = on_state_file("servers", work.path, " --start", cloud=cloud_name(cloud))
    return f"{'; '.join(parts)}; `{start}` starts what is free"

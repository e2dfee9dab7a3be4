"""Whether a volume of a server is being copied by anybody: looked at right before the server is started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from batchexport.engine.decide import deadline_s
from batchexport.engine.ledger import Ledger
from batchexport.engine.ports import Cloud
from batchexport.engine.servers.moves import Fit, fit_of, named
from batchexport.errors import CloudError
from batchexport.model import Server
from batchexport.store import Work

log = logging.getLogger(__name__)

#: A volume stays `uploading` for some seconds after its image turned active. One of our own that stays so for
#: longer is stuck, and its copy has ended.
LAG_S = 120.0
#: Between two looks at the volumes of one server that is kept off by them.
LOOK_AGAIN_S = 5.0


class Copies:
    """Which servers are to stay off a little longer, for somebody else copies a volume of theirs."""

    def __init__(
        self, cloud: Cloud, work: Work, ledger: Ledger, *, own: frozenset[str] | None = None
    ) -> None:
        """`own` are the volumes of our rows on these servers; None = ask the state file."""
        self._own = own
        self._cloud = cloud
        self._book = work.servers
        self._ledger = ledger
        self._since: dict[tuple[str, str], float] = {}  # (server id, volume id) -> loop time
        self._again_at: dict[str, float] = {}  # server id -> loop time
        self.busy: dict[str, str] = {}  #: server id -> why it is not started yet

    async def free(self, server_ids: Sequence[str], found: Mapping[str, Server]) -> list[str]:
        """Those of these that may be started: no volume attached to them is being copied, as far as is known.

        Every wait has its end: that of the longest copy of such a volume, and `LAG_S` for what we copied
        ourselves, and for volumes that cannot be looked at.
        """
        own = self._own
        free: list[str] = []
        for server_id in server_ids:
            server = found.get(server_id)
            if server is None or not server.volume_ids or fit_of(server) is not Fit.OFF:
                free.append(server_id)
                continue
            loop_now = asyncio.get_running_loop().time()
            if server_id in self.busy and loop_now < self._again_at[server_id]:
                continue
            if own is None:
                own = await self._book.volumes_of(server_ids)
            if (why := await self._why_not(server, own)) is None:
                self.forget(server_id)
                free.append(server_id)
                continue
            if server_id not in self.busy:
                log.info("server %s stays off for now: %s", named(server), why)
            self.busy[server_id] = why
            self._again_at[server_id] = loop_now + LOOK_AGAIN_S
        return free

    def forget(self, server_id: str) -> None:
        """It is to be started, or was."""
        self.busy.pop(server_id, None)
        self._again_at.pop(server_id, None)
        for key in [key for key in self._since if key[0] == server_id]:
            del self._since[key]

    async def _why_not(self, server: Server, own: Collection[str]) -> str | None:
        for volume_id in server.volume_ids or ():
            key = (server.server_id, volume_id)
            bound_s = LAG_S
            try:
                volume = await self._cloud.block_storage.get_volume(volume_id)
            except CloudError as error:
                why = f"its volume {volume_id} cannot be looked at ({error})"
            else:
                if volume is None or volume.status != "uploading":
                    self._since.pop(key, None)
                    continue
                why = f"its volume {volume_id} is still being copied"
                if volume_id not in own:
                    bound_s = deadline_s(volume.size_gib, None)
                    why = f"somebody else copies its volume {volume_id}"
            loop_now = asyncio.get_running_loop().time()
            if loop_now - self._since.setdefault(key, loop_now) < bound_s:
                return f"{why}; it is started then, or in {bound_s / 60:.0f} min at the latest"
        return None

"""Whether anybody is copying a volume of a server: checked right before the server is started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from batchexport.engine.decide import deadline_s
from batchexport.engine.ports import Cloud
from batchexport.engine.resources.book import ResourceBook
from batchexport.engine.resources.lifecycle import Condition
from batchexport.engine.steps.server_eligibility import condition_of, named
from batchexport.errors import CloudError
from batchexport.model import Server

log = logging.getLogger(__name__)

#: A volume stays `uploading` for some seconds after its image turned active. One of our own that stays so for
#: longer is stuck, and its copy has ended.
LAG_S = 120.0
#: Between two checks of the volumes of a server that is kept off by them.
LOOK_AGAIN_S = 5.0


class Copies:
    """Which servers stay off a little longer, because a volume of theirs is being copied."""

    def __init__(self, cloud: Cloud, book: ResourceBook, *, own: frozenset[str] | None = None) -> None:
        """`own`: the volumes of our jobs on these servers; None = ask the store."""
        self._own = own
        self._cloud = cloud
        self._book = book
        self._since: dict[tuple[str, str], float] = {}  # (server id, volume id) -> loop time
        self._again_at: dict[str, float] = {}  # server id -> loop time
        self.busy: dict[str, str] = {}  #: server id -> why it is not started yet

    async def free(self, server_ids: Sequence[str], found: Mapping[str, Server]) -> list[str]:
        """Those of these that may be started: no volume attached to them is being copied, as far as is known.

        Every wait is bounded: by the deadline of a copy of such a volume, and by `LAG_S` for volumes that we
        copied ourselves, or that cannot be read.
        """
        own = self._own
        free: list[str] = []
        for server_id in server_ids:
            server = found.get(server_id)
            if server is None or not server.volume_ids or condition_of(server) is not Condition.HELD:
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
                extra = {"action": "server_kept_off", "server_id": server_id}
                log.info("server %s stays off for now: %s", named(server), why, extra=extra)
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
                why = f"its volume {volume_id} cannot be read ({error})"
            else:
                if volume is None or volume.status != "uploading":
                    self._since.pop(key, None)
                    continue
                why = f"its volume {volume_id} is still being copied"
                if volume_id not in own:
                    bound_s = deadline_s(volume.size_gib, None)
                    why = f"its volume {volume_id} is being copied by somebody else"
            loop_now = asyncio.get_running_loop().time()
            if loop_now - self._since.setdefault(key, loop_now) < bound_s:
                return f"{why}; it is started then, or in {bound_s / 60:.0f} min at the latest"
        return None

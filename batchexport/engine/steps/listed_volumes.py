"""The volumes of the project as one list shows them, which serves for many rows, and what shares a server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence

from batchexport.engine.ports import Cloud
from batchexport.model import Volume

#: A list of all volumes serves for rows that begin within this time.
LIST_S = 30.0


class ListedVolumes:
    """Volumes by id, read anew when the list is too old."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._listed: Mapping[str, Volume] = {}
        self._listed_at = -math.inf  # loop time

    async def get(self, volume_id: str) -> Volume | None:
        """The volume by a list, or where that lacks it by its id; None = there is none. Raises CloudError."""
        loop_now = asyncio.get_running_loop().time()
        if loop_now - self._listed_at > LIST_S:
            listed: dict[str, Volume] = {}
            async for page in self._cloud.block_storage.volumes():
                listed.update((volume.volume_id, volume) for volume in page)
            self._listed, self._listed_at = listed, loop_now
        volume = self._listed.get(volume_id)
        return volume if volume is not None else await self._cloud.block_storage.get_volume(volume_id)

    def servers_of(self, volume_id: str) -> Sequence[str]:
        """The ids of the servers that it is attached to, by the latest list."""
        volume = self._listed.get(volume_id)
        return () if volume is None else volume.server_ids

    def share_server(self, one: str, other: str) -> bool:
        """Whether a server has both of these volumes."""
        return not set(self.servers_of(one)).isdisjoint(self.servers_of(other))

    def on_servers_of(self, volume_ids: Iterable[str]) -> frozenset[str]:
        """The volumes of all servers that have any of these."""
        servers = {server_id for each in volume_ids for server_id in self.servers_of(each)}
        return frozenset(
            volume_id for volume_id, volume in self._listed.items() if servers.intersection(volume.server_ids)
        )

    async def by_server(self, volume_ids: Iterable[str]) -> dict[str, list[str]]:
        """Of these the ids of the volumes of each server, by its id. Raises CloudError."""
        found: dict[str, list[str]] = {}
        for volume_id in volume_ids:
            volume = await self.get(volume_id)
            for server_id in () if volume is None else volume.server_ids:
                found.setdefault(server_id, []).append(volume_id)
        return found

"""Snapshots of the volumes of one server, between the user's commands that hold it still and let it go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from batchexport.engine.ports import Cloud
from batchexport.errors import BatchExportError, CloudError, RefusedError
from batchexport.quiesce import QuiesceCommands, Quiesced, QuiescedServer, quiesced

log = logging.getLogger(__name__)

#: Code of rows whose snapshot was not made because `before` failed.
QUIESCE_FAILED = "quiesce_failed"
#: Between two looks at snapshots that are being made while a server is held.
LOOK_EVERY_S = 1.0
#: The share of the time that a server may be held in which the snapshots must have begun to exist.
HOLD_SHARE = 0.8


class QuietBurst:
    """Makes snapshots while the servers of their volumes are held by the user's commands."""

    def __init__(self, cloud: Cloud, commands: QuiesceCommands) -> None:
        self._cloud = cloud
        self._commands = commands

    async def make(
        self,
        resource_ids: Sequence[str],
        volume_ids_of: Mapping[str, Sequence[str]],
        create: Callable[[], Awaitable[Mapping[str, CloudError]]],
        cloud_ids: Callable[[], Sequence[str]],
    ) -> tuple[Mapping[str, CloudError], str]:
        """What was refused or is in doubt, by id, and what to say of the images that come of the others.

        `volume_ids_of`: by server, the volumes to be copied; `cloud_ids`: of the snapshots that were made.
        """
        results: list[Quiesced] = []
        failed: Mapping[str, CloudError] = {}
        async with AsyncExitStack() as stack:
            for server_id, volume_ids in volume_ids_of.items():
                server = await self._server(server_id, volume_ids)
                results.append(await stack.enter_async_context(quiesced(self._commands, server)))
            if all(each.is_ready for each in results):
                failed = await create()
                await self._until_made(cloud_ids())
            else:
                problem = "; ".join(each.problem for each in results if not each.is_ready and each.problem)
                error = RefusedError(problem, code=QUIESCE_FAILED)
                failed = dict.fromkeys(resource_ids, error)
        problems = [each.problem for each in results if each.problem]
        if problems:
            extra = {"action": "quiesce_failed", "servers": list(volume_ids_of)}
            log.warning(
                "commands around the snapshots of a server failed: %s", "; ".join(problems), extra=extra
            )
        return failed, "; ".join(problems) or "its server held by commands of yours"

    async def _server(self, server_id: str, volume_ids: Sequence[str]) -> QuiescedServer:
        name = None
        try:
            name = (await self._cloud.compute.get_server(server_id)).name
        except BatchExportError as error:
            extra = {"action": "server_unreadable", "server_id": server_id}
            log.info("server %s: its name cannot be read (%s)", server_id, error, extra=extra)
        return QuiescedServer(server_id=server_id, server_name=name, volume_ids=sorted(volume_ids))

    async def _until_made(self, cloud_ids: Sequence[str]) -> None:
        """Wait until these exist, or for as long as the server may be held: until then it must not go on."""
        left = list(cloud_ids)
        try:
            async with asyncio.timeout(HOLD_SHARE * self._commands.hold_s):
                while left:
                    left = [each for each in left if await self._is_being_made(each)]
                    await asyncio.sleep(LOOK_EVERY_S if left else 0)
        except TimeoutError:
            extra = {"action": "snapshots_slow", "count": len(left)}
            log.warning(
                "%d snapshots were still being made when their server went on", len(left), extra=extra
            )

    async def _is_being_made(self, snapshot_id: str) -> bool:
        try:
            snapshot = await self._cloud.copies.get_snapshot(snapshot_id)
        except CloudError:
            return True
        return snapshot is None or snapshot.status == "creating"

"""End rows, or the wait for servers, on purpose."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from shlex import quote

import msgspec

from batchexport import engine
from batchexport.changes import ResourceGivenUp
from batchexport.errors import ConfigError
from batchexport.model import ResourceType
from batchexport.store import OpenRow, Store, StoreRef, Work, stores

SERVER_WORDS = "given up on purpose: start it yourself if it is to run"


class GivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """What was given up, or would be."""

    rows: Sequence[OpenRow]
    server_ids: Sequence[str]


async def give_up(
    state_path: StoreRef,
    *,
    volume_ids: Sequence[str],
    stalled: bool,
    server_ids: Sequence[str],
    confirmed: bool,
) -> GivenUp:
    """Give up these rows and servers, or without `confirmed` only look which these are.

    Raises ConfigError where none is named, or one that is named is not there to be given up, and
    StateInUseError while another process is at work.
    """
    if not (volume_ids or stalled or server_ids):
        raise ConfigError(
            "nothing to give up was named", hint="name it with --volume ID, --stalled or --server ID"
        )
    volume_ids = [volume_id.lower() for volume_id in volume_ids]

    async with stores.open_for_work(state_path) as state, _all_targets(state) as taken:
        chosen = [
            await engine.rows_to_give_up(work, volume_ids=volume_ids, stalled=stalled) for work in taken
        ]
        rows = [row for each in chosen for row in each]
        kinds = tuple(ResourceType)
        afoot = {each.resource_id for work in taken for each in await work.resources.outstanding(kinds)}
        _check(state_path, volume_ids, rows, server_ids, afoot)
        if confirmed:
            for work, each in zip(taken, chosen, strict=True):
                await engine.give_up(work, each)
                await work.commit(
                    *(
                        ResourceGivenUp(resource_id=server_id, reason=SERVER_WORDS, at_s=time.time())
                        for server_id in server_ids
                    )
                )
        return GivenUp(rows=rows, server_ids=server_ids)


@asynccontextmanager
async def _all_targets(state: Store) -> AsyncIterator[list[Work]]:
    """All targets of the file, so that no other process works on it meanwhile."""
    taken: list[Work] = []
    try:
        for target in state.targets:
            taken.append(await state.take(target.target_id))
        yield taken
    finally:
        for work in taken:
            await work.release()


def _check(
    state_path: StoreRef,
    volume_ids: Sequence[str],
    rows: Sequence[OpenRow],
    server_ids: Sequence[str],
    afoot: set[str],
) -> None:
    found = {row.job.volume_id for row in rows}
    for volume_id in volume_ids:
        if volume_id not in found:
            raise ConfigError(
                f"--volume {volume_id}: this volume has no unfinished row",
                hint=f"`batchexport report {quote(str(state_path))}` shows what became of every row",
            )
    for server_id in server_ids:
        if server_id not in afoot:
            raise ConfigError(
                f"--server {server_id}: this run has not stopped it",
                hint=f"`batchexport servers {quote(str(state_path))}` shows which are",
            )

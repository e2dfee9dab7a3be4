"""What `give-up` does to a state file, and how it tells of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from shlex import quote

import msgspec

from batchexport import engine
from batchexport.cli.execution import run_in_loop
from batchexport.errors import ConfigError
from batchexport.report.context import context_of
from batchexport.report.text import count_of
from batchexport.store import OpenRow, StateFile, StateReader, Work

SERVER_WORDS = "given up on purpose: start it yourself if it is to run"


class GivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """What was given up, or would be."""

    rows: Sequence[OpenRow]
    server_ids: Sequence[str]


def given_up(
    state_path: Path, *, volume_ids: Sequence[str], stalled: bool, server_ids: Sequence[str], sure: bool
) -> GivenUp:
    """Give up these rows and servers, or with `sure` unset only look which these are.

    Raises ConfigError where none is named, or one that is named is not there to be given up, and
    StateInUseError while another process is at work.
    """
    if not (volume_ids or stalled or server_ids):
        raise ConfigError("nothing is named to be given up", hint="say --volume ID, --stalled or --server ID")
    volume_ids = [volume_id.lower() for volume_id in volume_ids]

    async def give_up() -> GivenUp:
        async with StateFile.open(state_path) as state, _all_targets(state) as taken:
            chosen = [
                await engine.rows_to_give_up(work, volume_ids=volume_ids, stalled=stalled) for work in taken
            ]
            rows = [row for each in chosen for row in each]
            afoot = {server.server_id for work in taken for server in await work.servers.afoot()}
            _check(state_path, volume_ids, rows, server_ids, afoot)
            if sure:
                for work, each in zip(taken, chosen, strict=True):
                    await engine.give_up(work, each)
                for server_id in server_ids:
                    await state.give_up_server(server_id, SERVER_WORDS, at_s=time.time())
            return GivenUp(rows=rows, server_ids=server_ids)

    return run_in_loop(give_up())


@asynccontextmanager
async def _all_targets(state: StateFile) -> AsyncIterator[list[Work]]:
    """All targets: nobody else is at work on the file meanwhile."""
    taken: list[Work] = []
    try:
        for target in state.targets():
            taken.append(await state.take(target.target_id))
        yield taken
    finally:
        for work in taken:
            await work.release()


def _check(
    state_path: Path,
    volume_ids: Sequence[str],
    rows: Sequence[OpenRow],
    server_ids: Sequence[str],
    afoot: set[str],
) -> None:
    found = {row.job.volume_id for row in rows}
    for volume_id in volume_ids:
        if volume_id not in found:
            raise ConfigError(
                f"--volume {volume_id}: no row of this volume is still to end",
                hint=f"`batchexport report {quote(str(state_path))}` shows what became of every row",
            )
    for server_id in server_ids:
        if server_id not in afoot:
            raise ConfigError(
                f"--server {server_id}: it is not stopped by this run",
                hint=f"`batchexport servers {quote(str(state_path))}` shows which are",
            )


def given_up_text(done: GivenUp, state_path: Path, *, sure: bool) -> str:
    """What was given up, and what that leaves in the cloud."""
    if not done.rows and not done.server_ids:
        return "no row is past its deadline: nothing to give up"
    lines = [f"{row.job.volume_id}  {row.state}: {engine.left_behind(row)}" for row in done.rows]
    lines += [f"server {server_id}: it is left as it is" for server_id in done.server_ids]
    what = " and ".join(
        count_of(len(things), word)
        for things, word in ((done.rows, "row"), (done.server_ids, "server"))
        if things
    )
    if not sure:
        lines.append(f"{what} would be given up; nothing was done: the same command with --yes does it")
        return "\n".join(lines)
    lines.append(f"{what} given up")
    if done.rows:
        with StateReader(state_path) as reader:
            context = context_of(reader)
        lines.append(f"next: {context.command('resume')}  (carries on with the others, starts servers)")
        lines.append(f"next: {context.command('cleanup')}  (shows unfinished images that are left)")
    return "\n".join(lines)

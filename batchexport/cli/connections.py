"""How a run gets at its clouds: real ones by HTTP, the practice cloud after starting it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from batchexport import cloud
from batchexport.cli import practice
from batchexport.config import CloudSettings, Limits
from batchexport.engine import Cloud, Connect
from batchexport.gate import RateGate
from batchexport.model import TargetKey


@asynccontextmanager
async def connections(
    keys: Iterable[TargetKey], access: CloudSettings, limits: Limits, *, state_path: Path
) -> AsyncIterator[Connect]:
    """What opens the cloud of each of these targets. Raises ConfigError where they cannot go together."""
    default = access.cloud or os.environ.get("OS_CLOUD")
    if not practice.is_wanted({key.cloud or default for key in keys}):
        yield partial(_connect, access=access, limits=limits)
        return
    async with practice.PracticeCloud(practice.journal_path(state_path)) as practice_cloud:
        yield partial(_practise, practice_cloud, access=practice.access_to(access), limits=limits)


def _connect(
    key: TargetKey, learnt: float | None, *, access: CloudSettings, limits: Limits
) -> AbstractAsyncContextManager[Cloud]:
    """One target's client, behind a gate that knows what an earlier process learnt."""
    gate = RateGate(limits.requests_per_second)
    if learnt is not None:
        gate.start_at(learnt)
    return cloud.connect(key, access, limits=limits, gate=gate)


@asynccontextmanager
async def _practise(
    practice_cloud: practice.PracticeCloud,
    key: TargetKey,
    learnt: float | None,
    *,
    access: CloudSettings,
    limits: Limits,
) -> AsyncIterator[Cloud]:
    # Not earlier: the engine connects once the state file is ours, and so is the journal then.
    await practice_cloud.start()
    async with _connect(key, learnt, access=access, limits=limits) as client:
        yield client

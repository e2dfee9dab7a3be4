"""How a run gets at its clouds: real ones by HTTP, the embedded sandbox after starting it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from batchexport import cloud
from batchexport.app import embedded_sandbox
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.config import CloudSettings, Limits, Settings
from batchexport.engine import Cloud, Connect
from batchexport.identity import SANDBOX, CloudIdentity
from batchexport.model import TargetKey
from batchexport.store import StoreRef, check_bound, stores


@asynccontextmanager
async def connections(
    keys: Iterable[TargetKey],
    access: CloudSettings,
    limits: Limits,
    *,
    state_path: StoreRef,
    stop: asyncio.Event | None = None,
    limiters: list[RateLimiter] | None = None,
    for_a_run: bool = False,
) -> AsyncIterator[Connect]:
    """What opens the cloud of each of these targets. Raises ConfigError where they cannot go together.

    `stop` is the wish to stop of a run; `limiters` gets the rate limiter of each target that is
    connected. A run, and what prepares it, signs in more patiently than who looks.
    """
    timeouts = cloud.sign_in_timeouts(access, for_a_run=for_a_run or stop is not None)
    sign_ins = cloud.SignIns(timeouts, stop=stop)
    keys = list(keys)
    default = access.cloud or os.environ.get("OS_CLOUD")
    embedded_sandbox.check_defined({key.cloud for key in keys} - {default})
    if not embedded_sandbox.is_wanted({key.cloud or default for key in keys}):
        yield partial(_connect, access=access, limits=limits, sign_ins=sign_ins, limiters=limiters)
        return
    async with embedded_sandbox.EmbeddedSandbox(embedded_sandbox.journal_path(state_path)) as sandbox:
        yield partial(
            _connect_sandbox, sandbox, access=access, limits=limits, sign_ins=sign_ins, limiters=limiters
        )


@asynccontextmanager
async def visits(
    keys: Iterable[TargetKey], access: CloudSettings, settings: Settings, *, state_path: StoreRef
) -> AsyncIterator[Connect]:
    """As `connections`, for who only looks: raises WrongCloudError at another cloud than the state file's."""
    with stores.read(state_path) as reader:
        bound = reader.overview().identities

    @asynccontextmanager
    async def visit(key: TargetKey, learned: float | None) -> AsyncIterator[Cloud]:
        async with connect(key, learned) as client:
            if client.identity is not None and key in bound:
                check_bound(bound[key], client.identity, rebind=settings.rebind_cloud)
            yield client

    async with connections(keys, access, settings.limits, state_path=state_path) as connect:
        yield visit


def _connect(
    key: TargetKey,
    learned: float | None,
    *,
    access: CloudSettings,
    limits: Limits,
    sign_ins: cloud.SignIns,
    limiters: list[RateLimiter] | None = None,
    identity: CloudIdentity | None = None,
) -> AbstractAsyncContextManager[Cloud]:
    """One target's client, behind a rate limiter that knows what an earlier process learned."""
    limiter = RateLimiter(limits.requests_per_second)
    if learned is not None:
        limiter.start_at(learned)
    if limiters is not None:
        limiters.append(limiter)
    return cloud.connect(key, access, limits=limits, limiter=limiter, sign_ins=sign_ins, identity=identity)


@asynccontextmanager
async def _connect_sandbox(
    sandbox: embedded_sandbox.EmbeddedSandbox,
    key: TargetKey,
    learned: float | None,
    *,
    access: CloudSettings,
    limits: Limits,
    sign_ins: cloud.SignIns,
    limiters: list[RateLimiter] | None,
) -> AsyncIterator[Cloud]:
    # Not earlier: the engine connects once the state file is ours, and so is the journal then.
    access = await sandbox.access_to(access)
    # By its address it would be another cloud each time.
    connecting = _connect(
        key, learned, access=access, limits=limits, sign_ins=sign_ins, limiters=limiters, identity=SANDBOX
    )
    async with connecting as client:
        yield client

"""The clients of the clouds that a run connects to, for whoever shows their rates and request counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from batchexport.engine import Cloud, Connect
from batchexport.model import TargetKey


def remember_clouds(connect: Connect, clouds: MutableMapping[TargetKey, Cloud]) -> Connect:
    """The same connections; each client is put into `clouds`, and stays there after it is closed."""

    @asynccontextmanager
    async def opened(key: TargetKey, learnt: float | None) -> AsyncIterator[Cloud]:
        async with connect(key, learnt) as cloud:
            clouds[key] = cloud
            yield cloud

    def connected(key: TargetKey, learnt: float | None) -> AbstractAsyncContextManager[Cloud]:
        return opened(key, learnt)

    return connected

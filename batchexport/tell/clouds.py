"""The clouds that a run connects to, for those who look at their rates and counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from batchexport.engine import Cloud, Connect
from batchexport.model import TargetKey


def noting(connect: Connect, clouds: MutableMapping[TargetKey, Cloud]) -> Connect:
    """The same connections; the client of each is put into `clouds`, and stays there once it is closed."""

    @asynccontextmanager
    async def opened(key: TargetKey, learnt: float | None) -> AsyncIterator[Cloud]:
        async with connect(key, learnt) as cloud:
            clouds[key] = cloud
            yield cloud

    def noted(key: TargetKey, learnt: float | None) -> AbstractAsyncContextManager[Cloud]:
        return opened(key, learnt)

    return noted

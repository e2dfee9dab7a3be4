from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.asking import Asker, asking


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    async with asking() as ready:
        yield ready

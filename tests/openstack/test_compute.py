"""The calls to servers on a real Nova."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batchexport.cloud import Cloud, connect
from batchexport.config import CloudSettings, Limits
from batchexport.errors import NotFoundError, RefusedError
from batchexport.model import TargetKey


def allowed() -> None:
    """A fence that lets everything pass."""


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    async with connect(TargetKey(), CloudSettings(), limits=Limits(requests_per_second=20)) as ready:
        yield ready


async def status_of(client: Cloud, server_id: str) -> Any:
    found = [server async for page in client.compute.servers([server_id]) for server in page]
    return found[0].status if found and found[0].exists else None


async def until(client: Cloud, server_id: str, status: str, seconds: int = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await status_of(client, server_id) == status:
                return
            await asyncio.sleep(0.2)


async def test_a_server_is_stopped_and_started(compute: Any, make_server: Any, client: Cloud) -> None:
    server_id = make_server()
    assert await status_of(client, server_id) == "active"
    assert await client.compute.stop_servers([server_id], hard=False, fence=allowed) == {}
    await until(client, server_id, "shutoff")
    again = await client.compute.stop_servers([server_id], hard=False, fence=allowed)
    assert (type(again[server_id]), again[server_id].status) == (RefusedError, 409)
    assert "vm_state stopped" in str(again[server_id])
    assert await client.compute.start_servers([server_id], fence=allowed) == {}
    await until(client, server_id, "active")


async def test_a_server_that_is_locked_or_gone_does_not_keep_another_from_stopping(
    compute: Any, make_server: Any, client: Cloud
) -> None:
    locked, other, gone = make_server(), make_server(), str(uuid.uuid4())
    compute.lock_server(locked)
    # Whoever locked it could stop it as an administrator; the owner cannot.
    failed = await client.compute.stop_servers([locked, gone, other], hard=False, fence=allowed)
    assert {server_id: type(error) for server_id, error in failed.items()} == {
        locked: RefusedError,
        gone: NotFoundError,
    }
    assert "is locked" in str(failed[locked])
    await until(client, other, "shutoff")
    assert await status_of(client, gone) is None


async def test_servers_are_found_by_pages_too(make_server: Any, client: Cloud) -> None:
    made = [make_server() for _ in range(4)]
    gone = str(uuid.uuid4())
    found = {
        server.server_id: server async for page in client.compute.servers([*made, gone]) for server in page
    }
    assert [found[server_id].status for server_id in made] == ["active"] * 4
    assert not found[gone].exists

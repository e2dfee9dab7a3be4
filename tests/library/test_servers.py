"""Servers that a library export stopped are up again before a cancellation goes on."""

import asyncio

import pytest

import batchexport
from batchexport.sandbox import SandboxServer
from tests.cli.served import IDS, served, volumes

SERVER = SandboxServer(
    server_id="aaaaaaaa-0000-4000-8000-000000000000", name="web", volume_ids=tuple(IDS[:2])
)


async def test_a_cancelled_export_starts_the_servers_that_it_stopped() -> None:
    copying = asyncio.Event()

    def on_change(change: batchexport.JobChange) -> None:
        if change.after == "exporting":
            copying.set()

    with served(*volumes(), servers=[SERVER], force_upload=True, time_scale=0.01):
        task = asyncio.create_task(
            batchexport.export(
                IDS[:2],
                state="list.state",
                on_change=on_change,
                cloud="served",
                requests_per_second=0,
                poll_interval_s=0.1,
                in_use="stop",
                stop_servers=True,
            )
        )
        await asyncio.wait([task, asyncio.create_task(copying.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        outcome = batchexport.read_outcome("list.state")
        assert outcome.servers_down == 0
        assert not [row for row in outcome.rows if row.state == "submitting"]


async def test_servers_are_stopped_only_with_consent() -> None:
    with pytest.raises(batchexport.ConfigError, match="servers may be stopped"):
        await batchexport.export(IDS[:2], state="list.state", cloud="served", in_use="stop")

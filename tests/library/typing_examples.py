"""Uses of the library as a type checker sees them; `test_typing` runs mypy on it. Never executed."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_type

import batchexport


def on_change(change: batchexport.JobChange) -> None:
    assert_type(change.job.volume_id, str)
    assert_type(change.after, batchexport.JobState)


async def uses() -> None:
    outcome = await batchexport.export("volumes.csv", cloud="prod", in_use="stop", stop_servers=True)
    assert_type(outcome, batchexport.Outcome)
    assert_type(outcome.images, Mapping[str, str])
    assert_type(outcome.unfinished, Sequence[str])
    assert_type(outcome.ok, bool)
    await batchexport.export(Path("volumes.csv"), state=Path("v.state"), on_change=on_change)
    await batchexport.export(["an id", {"volume_id": "another"}], state="v.state", max_failures="5%")
    assert_type(await batchexport.discover(cloud="prod"), list[batchexport.Volume])
    await batchexport.resume("v.state", retry_failed=True, wait=False)
    await batchexport.verify("v.state", cloud="prod")
    await batchexport.plan_export("volumes.csv", disk_format="raw")
    assert_type(batchexport.render_report("v.state", "csv"), str)
    assert_type(await asyncio.to_thread(batchexport.read_outcome, "v.state"), batchexport.Outcome)


async def misuses() -> None:
    await batchexport.export("volumes.csv", in_use="perhaps")  # type: ignore[arg-type]
    await batchexport.export("volumes.csv", max_export=3)  # type: ignore[call-arg]
    await batchexport.export(7)  # type: ignore[arg-type]
    await batchexport.discover(max_exports=3)  # type: ignore[call-arg]
    batchexport.render_report("v.state", "pdf")  # type: ignore[arg-type]

"""Tokens that die in the middle of a run: the real client against the sandbox cloud, in one process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from batchexport import cloud, engine, intake
from batchexport.changes import JobChange
from batchexport.cloud import Cloud
from batchexport.config import CloudSettings, Limits, Settings
from batchexport.errors import AuthenticationError
from batchexport.model import JobState, TargetKey
from batchexport.sandbox import Sandbox, SandboxSettings, serve
from batchexport.store import JobReport, StateFile, StateReader

LIMITS = Limits(requests_per_second=0, max_exports=20, poll_interval_s=0.05)


@pytest.fixture
def state_path(tmp_path: Path) -> Path:
    listed = tmp_path / "list.csv"
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, 41)]
    listed.write_text("volume_id\n" + "\n".join(ids) + "\n")
    path = tmp_path / "list.state"
    intake.prepare(listed, path, Settings(limits=LIMITS))
    return path


async def export_all(
    state_path: Path, sandbox: Sandbox, on_change: Callable[..., None] | None = None
) -> None:
    access = CloudSettings(options=sandbox.auth())

    @contextlib.asynccontextmanager
    async def connect(key: TargetKey, rate: float | None) -> AsyncIterator[Cloud]:
        async with cloud.connect(key, access, limits=LIMITS) as client:
            yield client

    async with StateFile.open(state_path) as state:
        await engine.run(state, connect, Settings(limits=LIMITS), stop=asyncio.Event(), on_change=on_change)


def outcome(state_path: Path) -> dict[str, JobReport]:
    with StateReader(state_path) as reader:
        return {job.volume_id: job for job in reader.jobs()}


async def test_revoked_tokens_cost_one_sign_in_each_time_and_fail_no_row(state_path: Path) -> None:
    async with serve(SandboxSettings(time_scale=0.001)) as sandbox:
        ended = 0

        def revoke(change: JobChange) -> None:
            nonlocal ended
            if change.after is JobState.SUBMITTING:
                ended += 1
                if ended in (5, 25):
                    sandbox.revoke_tokens()

        await export_all(state_path, sandbox, revoke)
        jobs = outcome(state_path)
        assert {str(job.state) for job in jobs.values()} == {"succeeded"}
        assert {job.attempts for job in jobs.values()} == {1}
        assert set(sandbox.exports_per_volume.values()) == {1}
        assert sandbox.counts["auth"] == 3


async def test_tokens_that_live_a_second_are_renewed_in_time(state_path: Path) -> None:
    async with serve(SandboxSettings(time_scale=0.003, token_life_s=1)) as sandbox:
        await export_all(state_path, sandbox)
        assert {str(job.state) for job in outcome(state_path).values()} == {"succeeded"}
        assert set(sandbox.exports_per_volume.values()) == {1}
        assert sandbox.counts["auth"] > 1


async def test_a_password_that_is_wrong_ends_the_run_and_touches_no_row(state_path: Path) -> None:
    async with serve(SandboxSettings()) as sandbox:
        access = CloudSettings(options={**sandbox.auth(), "password": "wrong"})
        with pytest.raises(AuthenticationError):
            async with StateFile.open(state_path) as state:
                await engine.run(
                    state,
                    partial(_connect, access),
                    Settings(limits=LIMITS),
                    stop=asyncio.Event(),
                )
    assert {str(job.state) for job in outcome(state_path).values()} == {"pending"}


def _connect(
    access: CloudSettings, key: TargetKey, rate: float | None
) -> contextlib.AbstractAsyncContextManager[Any]:
    return cloud.connect(key, access, limits=LIMITS)

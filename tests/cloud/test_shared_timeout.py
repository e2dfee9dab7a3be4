from __future__ import annotations

import asyncio

import pytest

from batchexport.cloud.http.transport import SharedTimeout


async def wait(patience: SharedTimeout, event: asyncio.Event) -> str:
    with patience.limit():
        await event.wait()
    return "done"


async def test_what_takes_too_long_is_a_time_out() -> None:
    with pytest.raises(TimeoutError):
        await wait(SharedTimeout(0.01), asyncio.Event())
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_each_has_its_own_time() -> None:
    patience, event = SharedTimeout(0.2), asyncio.Event()
    first = asyncio.create_task(wait(patience, asyncio.Event()))
    await asyncio.sleep(0.1)
    second = asyncio.create_task(wait(patience, event))
    with pytest.raises(TimeoutError):
        await first
    event.set()
    assert await second == "done"


async def test_a_timer_serves_for_many_and_again_after_all_were_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, timers = asyncio.get_running_loop(), 0
    call_at = loop.call_at

    def counted(*args: object, **kwargs: object) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_at", counted)
    patience, event = SharedTimeout(0.02), asyncio.Event()
    event.set()
    for _ in range(100):
        assert await wait(patience, event) == "done"
    assert timers <= 2
    with pytest.raises(TimeoutError):
        await wait(patience, asyncio.Event())


async def test_who_was_cancelled_by_others_stays_cancelled() -> None:
    task = asyncio.create_task(wait(SharedTimeout(60.0), asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_was_cancelled_in_the_same_moment_stays_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(wait(SharedTimeout(60.0), asyncio.Event()))
    await asyncio.sleep(0)
    loop.call_later(61.0, task.cancel)
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + 100.0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_an_error_that_came_first_is_told() -> None:
    with pytest.raises(ValueError, match="first"), SharedTimeout(60.0).limit():
        raise ValueError("first")

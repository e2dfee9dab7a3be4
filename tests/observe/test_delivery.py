import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from batchexport.observe import notifications
from batchexport.observe.notifications import DeliveryError, deliver
from tests.observe.receivers import Clock


def sender(*outcomes: Exception | None) -> tuple[Callable[..., Awaitable[None]], list[Any]]:
    """A way that ends as told, one time after the other."""
    left, tries = list(outcomes), []

    async def send() -> None:
        tries.append(1)
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome

    return send, tries


async def test_what_comes_through_is_sent_once() -> None:
    clock = Clock()
    send, tries = sender(None)
    assert await deliver("the webhook", send, sleep=clock.sleep)
    assert (len(tries), clock.waits) == (1, [])


async def test_what_may_pass_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    send, tries = sender(DeliveryError("503"), TimeoutError(), None)
    assert await deliver("the webhook", send, sleep=clock.sleep)
    assert (len(tries), clock.waits) == (3, [2.0, 8.0])
    assert caplog.records == []


async def test_there_is_an_end_to_it_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    send, tries = sender(*[DeliveryError("example answered 503")] * 3)
    assert not await deliver("the webhook", send, sleep=Clock().sleep)
    assert len(tries) == 3
    assert caplog.messages == ["the webhook could not be notified: example answered 503"]


async def test_what_is_refused_for_good_is_not_tried_again() -> None:
    send, tries = sender(DeliveryError("404", permanent=True))
    assert not await deliver("the webhook", send, sleep=Clock().sleep)
    assert len(tries) == 1


async def test_no_fault_of_a_library_gets_through(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    send, _ = sender(*[RuntimeError("https://hooks/secret")] * 3)
    assert not await deliver("the webhook", send, sleep=Clock().sleep)
    assert caplog.messages == ["the webhook could not be notified: RuntimeError"]


async def test_silence_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(notifications, "TRY_S", 0.01)
    assert not await deliver("the webhook", never, sleep=Clock().sleep)
    assert caplog.messages == ["the webhook could not be notified: no answer in 0.01 s"]

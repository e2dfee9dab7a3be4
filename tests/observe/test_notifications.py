from typing import Any

import pytest

from batchexport.config.outputs import Heartbeat, Mail, MailSecurity, Notify, When
from batchexport.observe.message import Message
from batchexport.observe.notifications import notify_end, notify_start
from tests.observe.receivers import Clock, Receiver, receiver


def message(*, good: bool) -> Any:
    return Message(title="a title", lines=[], good=good)


def paths(found: Receiver) -> list[str]:
    return sorted(path for _, path, _ in found.calls)


def notify(url: str, **changes: Any) -> Notify:
    heartbeat = Heartbeat(success=f"{url}/ok", start=f"{url}/start", failure=f"{url}/fail")
    return Notify(**{"webhook": f"{url}/hook", "heartbeat": heartbeat, **changes})


async def test_the_heartbeat_hears_of_a_start() -> None:
    async with receiver() as found:
        await notify_start(notify(found.url))
        await notify_start(Notify())
        await notify_start(Notify(heartbeat=Heartbeat(success=found.url)))
    assert paths(found) == ["/start"]


@pytest.mark.parametrize(("good", "beat"), [(True, "/ok"), (False, "/fail")])
async def test_everybody_hears_of_the_end(good: bool, beat: str) -> None:
    async with receiver() as found:
        await notify_end(notify(found.url), message(good=good))
    assert paths(found) == sorted(["/hook", beat])


@pytest.mark.parametrize(("good", "told"), [(True, ["/ok"]), (False, ["/fail", "/hook"])])
async def test_people_may_want_to_hear_of_failures_only(good: bool, told: list[str]) -> None:
    async with receiver() as found:
        await notify_end(notify(found.url, when=When.FAILURE), message(good=good))
    assert paths(found) == told


async def test_a_heartbeat_without_an_address_for_failure_is_silent() -> None:
    async with receiver() as found:
        heartbeat = Heartbeat(success=f"{found.url}/ok")
        await notify_end(Notify(heartbeat=heartbeat), message(good=False))
    assert found.calls == []


async def test_one_who_cannot_be_reached_does_not_keep_the_others_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    nobody = Mail(host="127.0.0.1", port=1, security=MailSecurity.NONE, sender="a@b", recipients=("c@d",))
    async with receiver(503, 503, 503) as found:
        await notify_end(
            Notify(webhook=f"{found.url}/hook", mail=nobody), message(good=False), sleep=clock.sleep
        )
    assert paths(found) == ["/hook"] * 3
    assert sorted(words.split(" could")[0] for words in caplog.messages) == ["the mail server", "the webhook"]

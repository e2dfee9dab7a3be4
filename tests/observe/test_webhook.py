import json
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.web_response import Response

from batchexport.config.outputs import WebhookForm
from batchexport.observe.message import Message
from batchexport.observe.notifications import DeliveryError, escape_for_teams, ping, post_json, webhook_body
from tests.observe.receivers import receiver

MESSAGE = Message(title="done", lines=["8 of 10", "größer"], good=False, figures={"failed": 2})


def test_chats_get_a_text_and_programs_the_figures() -> None:
    assert webhook_body(MESSAGE, WebhookForm.TEXT) == {
        "text": "done\n8 of 10\ngrößer",
        "batchexport": {"failed": 2},
    }


def test_teams_gets_a_card() -> None:
    body: Any = webhook_body(MESSAGE, WebhookForm.TEAMS)
    (attachment,) = body["attachments"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    title, *lines = attachment["content"]["body"]
    assert (title["text"], title["color"]) == ("done", "Attention")
    assert [line["text"] for line in lines] == ["8 of 10", "größer"]


async def test_a_webhook_is_posted_as_json() -> None:
    async with receiver() as found:
        await post_json(f"{found.url}/hooks/secret", webhook_body(MESSAGE, WebhookForm.TEXT))
    ((method, path, body),) = found.calls
    assert (method, path, json.loads(body)["text"]) == ("POST", "/hooks/secret", MESSAGE.text)


async def test_a_heartbeat_is_called() -> None:
    async with receiver() as found:
        await ping(f"{found.url}/ping?status=up")
    assert found.calls == [("GET", "/ping?status=up", "")]


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(404, True), (429, False), (408, False), (503, False), (302, False)],
)
async def test_an_answer_says_whether_to_try_again(status: int, permanent: Any) -> None:
    async with receiver(status) as found:
        with pytest.raises(DeliveryError, match=f"^127.0.0.1 answered {status}$") as caught:
            await ping(f"{found.url}/secret")
    assert caught.value.permanent is permanent


async def test_nobody_there_names_the_host_and_not_the_secret() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(DeliveryError) as caught:
        await ping(f"http://127.0.0.1:{port}/secret")
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith("127.0.0.1: ")


async def test_neither_netrc_nor_a_redirect_has_a_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []

    async def moved(request: web.Request) -> Response:
        seen.append(request.headers)
        return web.Response(status=302, headers={"Location": f"http://{request.host}/login"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", moved)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with pytest.raises(DeliveryError, match="answered 302") as caught:
        await post_json(f"http://127.0.0.1:{runner.addresses[0][1]}/hook", {})
    await runner.cleanup()
    assert not caught.value.permanent
    assert len(seen) == 1
    assert "Authorization" not in seen[0]


async def test_notices_go_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as found:
        monkeypatch.setenv("all_proxy", found.url.replace("http://", "http://me:word@"))
        monkeypatch.setenv("no_proxy", "10.0.0.0/8")
        await ping("http://chat.invalid/ping")
    ((method, _, _),) = found.calls
    assert method == "GET"


EVIL = (
    "<https://evil.example|Sign in> <!channel> [renew](https://evil.example) @channel R&D - 1. a_b*c*"
    " ops@example.org"
)


def test_no_word_of_a_cloud_links_or_calls_anybody_in_a_chat() -> None:
    message = Message(title="t", lines=[EVIL], good=False)
    text = str(webhook_body(message, WebhookForm.TEXT)["text"])
    assert "<" not in text and "](" not in text and "@channel" not in text
    assert "R&amp;D" in text and "ops@example.org" in text
    card: Any = webhook_body(message, WebhookForm.TEAMS)
    (attachment,) = card["attachments"]
    (_, line) = attachment["content"]["body"]
    assert "\\[renew\\]\\(https" in line["text"] and "a\\_b\\*c\\*" in line["text"]


def test_a_line_that_looks_like_a_list_stays_a_line() -> None:
    assert escape_for_teams("- a") == "\\- a" and escape_for_teams("1. a") == "\\1. a"

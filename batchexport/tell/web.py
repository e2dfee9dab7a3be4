"""Webhook and heartbeat: requests to addresses that hold a secret, so that only their host is ever named."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import aiohttp

from batchexport.config.outputs import WebhookForm
from batchexport.errors import ConfigError
from batchexport.proxies import proxy_for
from batchexport.tell.chat import for_slack, for_teams
from batchexport.tell.delivery import NotTakenError
from batchexport.tell.message import Message

_CARD = "application/vnd.microsoft.card.adaptive"


def webhook_body(message: Message, form: WebhookForm) -> dict[str, object]:
    """What the receiver is sent."""
    if form is WebhookForm.TEXT:
        return {"text": for_slack(message.text), "batchexport": message.figures}
    title = {
        "type": "TextBlock",
        "text": for_teams(message.title),
        "weight": "Bolder",
        "size": "Medium",
        "wrap": True,
        "color": "Good" if message.good else "Attention",
    }
    lines = [{"type": "TextBlock", "text": for_teams(line), "wrap": True} for line in message.lines]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title, *lines],
    }
    return {"type": "message", "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}]}


async def post_json(url: str, body: dict[str, object]) -> None:
    """Send the body. Raises NotTakenError."""
    await _send("POST", url, json.dumps(body, ensure_ascii=False).encode())


async def call(url: str) -> None:
    """Call a heartbeat address. Raises NotTakenError."""
    await _send("GET", url, None)


async def _send(method: str, url: str, body: bytes | None) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        proxy = proxy_for(url)
        if proxy is not None and url.startswith(
            "http://"
        ):  # no tunnel: the proxy reads the request's headers
            headers |= proxy.headers
        # Not trust_env: it would send what netrc holds. Behind a redirect a login page takes any notice.
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                method,
                url,
                data=body,
                headers=headers,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=None if proxy is None else proxy.headers,
                allow_redirects=False,
            ) as answer,
        ):
            status = answer.status
    except ConfigError as error:
        raise NotTakenError(str(error), for_good=True) from error
    except (aiohttp.ClientError, OSError) as error:
        raise NotTakenError(f"{urlsplit(url).hostname}: {type(error).__name__}") from error
    if status >= 300:
        for_good = 400 <= status < 500 and status not in (408, 429)
        raise NotTakenError(f"{urlsplit(url).hostname} answered {status}", for_good=for_good)

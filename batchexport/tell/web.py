"""Webhook and heartbeat: requests to addresses that hold a secret, so that only their host is ever named."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import aiohttp

from batchexport.config.notify import WebhookForm
from batchexport.tell.delivery import NotTakenError
from batchexport.tell.message import Message

_CARD = "application/vnd.microsoft.card.adaptive"


def webhook_body(message: Message, form: WebhookForm) -> dict[str, object]:
    """What the receiver is sent."""
    if form is WebhookForm.TEXT:
        return {"text": message.text, "batchexport": message.figures}
    title = {
        "type": "TextBlock",
        "text": message.title,
        "weight": "Bolder",
        "size": "Medium",
        "wrap": True,
        "color": "Good" if message.good else "Attention",
    }
    lines = [{"type": "TextBlock", "text": line, "wrap": True} for line in message.lines]
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
        # trust_env: on many networks the way out is a proxy named by the environment.
        async with (
            aiohttp.ClientSession(trust_env=True) as http,
            http.request(method, url, data=body, headers=headers) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, OSError) as error:
        raise NotTakenError(f"{urlsplit(url).hostname}: {type(error).__name__}") from error
    if status >= 300:
        for_good = status < 500 and status not in (408, 429)
        raise NotTakenError(f"{urlsplit(url).hostname} answered {status}", for_good=for_good)

"""Webhook and heartbeat. Their URLs hold secrets, so that only the host is ever named."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import aiohttp

from batchexport.config.outputs import WebhookForm
from batchexport.errors import ConfigError
from batchexport.observe.delivery import DeliveryError
from batchexport.observe.message import Message
from batchexport.proxies import proxy_for

_CARD = "application/vnd.microsoft.card.adaptive"


def webhook_body(message: Message, form: WebhookForm) -> dict[str, object]:
    """The JSON body for the receiver."""
    if form is WebhookForm.TEXT:
        return {"text": escape_for_slack(message.text), "batchexport": message.figures}
    title = {
        "type": "TextBlock",
        "text": escape_for_teams(message.title),
        "weight": "Bolder",
        "size": "Medium",
        "wrap": True,
        "color": "Good" if message.good else "Attention",
    }
    lines = [{"type": "TextBlock", "text": escape_for_teams(line), "wrap": True} for line in message.lines]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title, *lines],
    }
    return {"type": "message", "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}]}


async def post_json(url: str, body: dict[str, object]) -> None:
    """Send the body. Raises DeliveryError."""
    await _send("POST", url, json.dumps(body, ensure_ascii=False).encode())


async def ping(url: str) -> None:
    """Call a heartbeat URL. Raises DeliveryError."""
    await _send("GET", url, None)


async def _send(method: str, url: str, body: bytes | None) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        proxy = proxy_for(url)
        if proxy is not None and url.startswith("http://"):  # no tunnel: the proxy reads the headers
            headers |= proxy.headers
        # Not trust_env: it would send credentials of netrc. No redirects: a login page accepts anything.
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
            ) as response,
        ):
            status = response.status
    except ConfigError as error:
        raise DeliveryError(str(error), permanent=True) from error
    except (aiohttp.ClientError, OSError) as error:
        raise DeliveryError(f"{urlsplit(url).hostname}: {type(error).__name__}") from error
    if status >= 300:
        permanent = 400 <= status < 500 and status not in (408, 429)
        raise DeliveryError(f"{urlsplit(url).hostname} answered {status}", permanent=permanent)


#: A zero-width space, to separate two characters that mean something together.
_APART = "\u200b"
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_MARKDOWN = re.compile(r"([\\`*_\[\]()#~|<>])")
_LIST = re.compile(r"(?m)^(\s*)([-+]|\d+[.)])(\s)")
#: Mentions by which Mattermost and Rocket.Chat notify a whole channel.
_CALL = re.compile(r"@(?=(?:all|here|channel|everyone)\b)", re.IGNORECASE)


def escape_for_slack(text: str) -> str:
    """Escape text for Slack, and defuse Markdown links and channel mentions, which other chats support."""
    return _CALL.sub(f"@{_APART}", text.translate(_SLACK).replace("](", f"]{_APART}("))


def escape_for_teams(text: str) -> str:
    """Escape text for an adaptive card, which renders Markdown."""
    return _LIST.sub(r"\1\\\2\3", _MARKDOWN.sub(r"\\\1", text))

"""Who is notified of a run: heartbeat, webhook and mail, all at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from batchexport.config.outputs import Notify, When
from batchexport.observe import mail, webhook
from batchexport.observe.delivery import deliver
from batchexport.observe.message import Message


async def notify_start(
    notify: Notify, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Call the heartbeat's start URL, if one is set."""
    if notify.heartbeat and notify.heartbeat.start:
        await deliver("the heartbeat", partial(webhook.ping, notify.heartbeat.start), sleep=sleep)


async def notify_end(
    notify: Notify, message: Message, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Notify every receiver of how the run ended; one that cannot be reached is logged as a warning."""
    sends = _sends(notify, message)
    await asyncio.gather(*(deliver(receiver, send, sleep=sleep) for receiver, send in sends.items()))


def _sends(notify: Notify, message: Message) -> dict[str, Callable[[], Awaitable[None]]]:
    sends: dict[str, Callable[[], Awaitable[None]]] = {}
    if notify.heartbeat is not None:
        url = notify.heartbeat.success if message.good else notify.heartbeat.failure
        if url is not None:
            sends["the heartbeat"] = partial(webhook.ping, url)
    if notify.when is When.FAILURE and message.good:
        return sends
    if notify.webhook is not None:
        body = webhook.webhook_body(message, notify.webhook_form)
        sends["the webhook"] = partial(webhook.post_json, notify.webhook, body)
    if notify.mail is not None:
        sends["the mail server"] = partial(mail.send_mail, notify.mail, message)
    return sends

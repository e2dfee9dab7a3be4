"""Everybody who is to be told of a run, told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from batchexport.config.outputs import Notify, When
from batchexport.tell import mail, web
from batchexport.tell.delivery import deliver
from batchexport.tell.message import Message


async def tell_start(notify: Notify, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
    """Call the heartbeat's address for a start, where there is one."""
    if notify.heartbeat and notify.heartbeat.start:
        await deliver("the heartbeat", partial(web.call, notify.heartbeat.start), sleep=sleep)


async def tell_end(
    notify: Notify, message: Message, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Tell all of them how the run ended; those that cannot be reached are named in the log."""
    sends = _sends(notify, message)
    await asyncio.gather(*(deliver(receiver, send, sleep=sleep) for receiver, send in sends.items()))


def _sends(notify: Notify, message: Message) -> dict[str, Callable[[], Awaitable[None]]]:
    sends: dict[str, Callable[[], Awaitable[None]]] = {}
    if notify.heartbeat is not None:
        url = notify.heartbeat.success if message.good else notify.heartbeat.failure
        if url is not None:
            sends["the heartbeat"] = partial(web.call, url)
    if notify.when is When.FAILURE and message.good:
        return sends
    if notify.webhook is not None:
        body = web.webhook_body(message, notify.webhook_form)
        sends["the webhook"] = partial(web.post_json, notify.webhook, body)
    if notify.mail is not None:
        sends["the mail server"] = partial(mail.send_mail, notify.mail, message)
    return sends

"""Notifications of a run: heartbeat, webhook and mail, all at the same time.

Each is delivered with a few attempts and a time limit; no receiver can end a run. URLs of webhooks and
heartbeats hold secrets, so that only the host is ever named.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial
from urllib.parse import urlsplit

import aiohttp

from batchexport.config.outputs import Mail, MailSecurity, Notify, WebhookForm, When
from batchexport.errors import ConfigError
from batchexport.observe.message import Message
from batchexport.proxies import proxy_for

log = logging.getLogger(__name__)

#: Seconds before each further attempt.
WAITS_S = (2.0, 8.0)
TRY_S = 10.0


class DeliveryError(Exception):
    """The receiver did not accept the notification. `permanent` = another attempt would not help."""

    def __init__(self, words: str, *, permanent: bool = False) -> None:
        super().__init__(words)
        self.permanent = permanent


async def deliver(
    receiver: str,
    send: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> bool:
    """Call `send` until it succeeds, three times at most; False = it never did, which is logged."""
    words = ""
    for wait_s in (0.0, *WAITS_S):
        if wait_s:
            await sleep(wait_s)
        try:
            await asyncio.wait_for(send(), TRY_S)
            return True
        except DeliveryError as error:
            words = str(error)
            if error.permanent:
                break
        except TimeoutError:
            words = f"no answer in {TRY_S:g} s"
        except Exception as error:  # no library error about a notification may end a run
            words = type(error).__name__
            log.debug(
                "%s", receiver, exc_info=error, extra={"action": "notification_error", "receiver": receiver}
            )
    log.warning(
        "%s could not be notified: %s",
        receiver,
        words,
        extra={"action": "notification_failed", "receiver": receiver, "error": words},
    )
    return False


#: Larger reports are not attached: mail servers commonly refuse more than 10 MB.
MAX_ATTACHED_BYTES = 5_000_000


async def send_mail(mail: Mail, message: Message) -> None:
    """Send the message. Raises DeliveryError."""
    await asyncio.to_thread(_send_mail, mail, build_mail(mail, message))


def build_mail(mail: Mail, message: Message) -> EmailMessage:
    """The message as a mail, with the HTML report attached if there is one."""
    mail_message = EmailMessage()
    mail_message["Subject"] = " ".join(message.title.split())
    mail_message["From"], mail_message["To"] = mail.sender, ", ".join(mail.recipients)
    mail_message["Date"], mail_message["Message-ID"] = formatdate(), make_msgid(domain="batchexport.invalid")
    mail_message["Auto-Submitted"] = "auto-generated"  # no vacation replies
    mail_message.set_content("\n".join(message.lines) + "\n")
    report = message.attachment
    if report is not None and report.is_file() and report.stat().st_size <= MAX_ATTACHED_BYTES:
        page = report.read_text(encoding="utf-8")
        mail_message.add_attachment(page, subtype="html", filename=report.name)
    return mail_message


def _send_mail(mail: Mail, mail_message: EmailMessage) -> None:
    try:
        with _connection(mail) as server:
            if mail.user is not None and mail.password is not None:
                server.login(mail.user, mail.password)
            refused = server.send_message(mail_message)
    except smtplib.SMTPResponseException as error:
        words = f"{mail.host} answered {error.smtp_code} {_words(error.smtp_error)}"
        raise DeliveryError(words, permanent=error.smtp_code >= 500) from error
    except smtplib.SMTPRecipientsRefused as error:
        raise DeliveryError(f"{mail.host} refused every recipient", permanent=True) from error
    except (smtplib.SMTPException, OSError) as error:
        raise DeliveryError(f"{mail.host}: {error}") from error
    if refused:
        raise DeliveryError(f"{mail.host} refused {', '.join(refused)}", permanent=True)


def _connection(mail: Mail) -> smtplib.SMTP:
    if mail.security is MailSecurity.TLS:
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=TRY_S, context=ssl.create_default_context())
    server = smtplib.SMTP(mail.host, mail.port, timeout=TRY_S)
    if mail.security is MailSecurity.STARTTLS:
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _words(text: bytes | str) -> str:
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join(plain.split())


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
    await _post("POST", url, json.dumps(body, ensure_ascii=False).encode())


async def ping(url: str) -> None:
    """Call a heartbeat URL. Raises DeliveryError."""
    await _post("GET", url, None)


async def _post(method: str, url: str, body: bytes | None) -> None:
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


async def notify_start(
    notify: Notify, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Call the heartbeat's start URL, if one is set."""
    if notify.heartbeat and notify.heartbeat.start:
        await deliver("the heartbeat", partial(ping, notify.heartbeat.start), sleep=sleep)


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
            sends["the heartbeat"] = partial(ping, url)
    if notify.when is When.FAILURE and message.good:
        return sends
    if notify.webhook is not None:
        body = webhook_body(message, notify.webhook_form)
        sends["the webhook"] = partial(post_json, notify.webhook, body)
    if notify.mail is not None:
        sends["the mail server"] = partial(send_mail, notify.mail, message)
    return sends

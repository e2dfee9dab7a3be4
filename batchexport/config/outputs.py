"""Notifications and reports of a run: the `[notify]` and `[report]` tables of a job file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec

from batchexport.config import values

if TYPE_CHECKING:
    from batchexport.config.values import Table

Made = TypeVar("Made")
Word = TypeVar("Word", bound=StrEnum)

#: A value that is taken from the environment: secrets do not belong into a job file.
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


#: Report formats, by the names that `report --format` gives them.
FORMATS = ("html", "markdown", "csv", "json", "table")


class When(StrEnum):
    """Which nights the webhook and the mail are for."""

    ALWAYS = "always"
    FAILURE = "failure"


class WebhookForm(StrEnum):
    """What the receiver understands."""

    TEXT = "text"  #: {"text": …} with the figures beside it: Slack, Mattermost, Rocket.Chat, own programs
    TEAMS = "teams"  #: an adaptive card, as the workflows of Microsoft Teams want it


class MailSecurity(StrEnum):
    """How the way to the mail server is protected; the values are the schemes of `mail_server`."""

    NONE = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """Where mail goes, and by which server."""

    host: str
    port: int
    security: MailSecurity
    sender: str
    recipients: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """URLs to call, so that a monitor notices when the calls stop. None = not called."""

    success: str = field(repr=False)
    start: str | None = field(default=None, repr=False)
    failure: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """All notifications of a run."""

    when: When = When.ALWAYS
    webhook: str | None = field(default=None, repr=False)  #: such addresses hold a secret
    webhook_form: WebhookForm = WebhookForm.TEXT
    heartbeat: Heartbeat | None = None
    mail: Mail | None = None
    unset: tuple[str, ...] = ()  #: variables that the table names and the environment does not have

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values to redact everywhere: URLs that work for anyone who knows them, and the mail password."""
        calls = self.heartbeat or Heartbeat(success="")
        urls = list(filter(None, (self.webhook, calls.success, calls.start, calls.failure)))
        paths = [url.split("/", 3)[3] for url in urls if url.count("/") > 2]
        password = self.mail.password if self.mail is not None else None
        return tuple(filter(None, (*urls, *paths, password)))


def notify_from(table: Table, environment: Mapping[str, str] = os.environ) -> Notify:
    """Who the table names. What is wrong with it becomes problems of the table.

    A variable that is not set is no problem of the file: it may be checked where the secret is not.
    """
    unset: list[str] = []

    def text(value: object) -> str:
        return _text(value, environment, unset)

    def url(value: object) -> str:
        said = text(value)
        return said if _VARIABLE.fullmatch(said) else _url(said)

    return Notify(
        when=table.read("when", lambda value: _made(value, text, _one_of(When))) or When.ALWAYS,
        webhook=table.read("webhook", url),
        webhook_form=table.read("webhook_form", lambda value: _made(value, text, _one_of(WebhookForm)))
        or WebhookForm.TEXT,
        heartbeat=_heartbeat(table, url),
        mail=_mail(table, text),
        unset=tuple(dict.fromkeys(unset)),
    )


def _heartbeat(table: Table, url: Callable[[object], str]) -> Heartbeat | None:
    """The address for success, and those beside it: named, or /start and /fail under it."""
    success, start, failure = (
        table.read(key, url) for key in ("heartbeat", "heartbeat_start", "heartbeat_failure")
    )
    if success is None:
        if start or failure:
            table.problem("heartbeat", "missing: the address to call after a success")
        return None
    if not urlsplit(success).query:
        start, failure = start or f"{success.rstrip('/')}/start", failure or f"{success.rstrip('/')}/fail"
    return Heartbeat(success=success, start=start, failure=failure)


def _mail(table: Table, text: Callable[[object], str]) -> Mail | None:
    server = table.read("mail_server", lambda value: _made(value, text, _server))
    sender = table.read("mail_from", lambda value: _made(value, text, _mail_address))
    recipients = table.read("mail_to", lambda value: _recipients(value, text))
    user, password = table.read("mail_user", text), table.read("mail_password", text)
    in_clear = table.read("mail_password_in_clear", _flag) or False
    if (user is None) != (password is None):
        table.problem("mail_user", "mail_user and mail_password go together")
    said = {"mail_server": server, "mail_from": sender, "mail_to": recipients}
    if server is None or sender is None or recipients is None:
        if any(value is not None for value in (*said.values(), user, password)):
            missing = ", ".join(key for key, value in said.items() if value is None)
            table.problem("mail_server", f"mail needs {', '.join(said)}; missing or wrong: {missing}")
        return None
    if password is not None and server.scheme == MailSecurity.NONE.value and not in_clear:
        table.problem(
            "mail_server",
            "smtp:// would send mail_password in the clear: use smtp+starttls:// or smtps://, or, if"
            " the connection to the server is safe, set mail_password_in_clear = true",
        )
    return Mail(
        host=server.hostname or "",
        port=server.port or _PORTS[server.scheme],
        security=MailSecurity(server.scheme),
        sender=sender,
        recipients=recipients,
        user=user,
        password=password,
    )


def _text(value: object, environment: Mapping[str, str], unset: list[str]) -> str:
    """The text, or what the variable holds that it names; a variable that is not set stays as it is."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text in quotes")
    if (match := _VARIABLE.fullmatch(value.strip())) is None:
        return value.strip()
    if said := environment.get(match[1]):
        return said
    unset.append(match[1])
    return match[0]


def _url(text: str) -> str:
    # The text stays out of the message: the address of a webhook is a secret.
    try:
        parts = urlsplit(text)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fit = False
    if not fit:
        raise ValueError("is not a URL; it must begin with https:// or http:// and name a host")
    return text


def _server(text: str) -> SplitResult:
    parts = urlsplit("smtp://unset" if _VARIABLE.fullmatch(text) else text)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username or parts.password:
        raise ValueError(f"must be {', '.join(_PORTS)} with ://host or ://host:port, and no user in it")
    return parts


def _recipients(value: object, text: Callable[[object], str]) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise ValueError("is empty; name at least one recipient")
    return tuple(_made(one, text, _mail_address) for one in listed)


def _made(value: object, text: Callable[[object], str], make: Callable[[str], Made]) -> Made:
    """What `make` makes of the text. Its errors name the variable that held it: it may be a secret's."""
    said = text(value)
    try:
        return make(said)
    except ValueError as error:
        raise ValueError(str(error).replace(said, str(value).strip())) from None


def _mail_address(text: str) -> str:
    name, at, host = text.rpartition("@")
    if _VARIABLE.fullmatch(text):
        return text
    if not (name and at and host) or any(letter.isspace() for letter in text):
        raise ValueError(f'"{text}" is not an email address')
    return text


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _one_of(allowed: type[Word]) -> Callable[[str], Word]:
    words: Sequence[str] = [each.value for each in allowed]

    def word(text: str) -> Word:
        if text not in words:
            raise ValueError(f'"{text}" is not known; allowed: {", ".join(words)}')
        return allowed(text)

    return word


class Reports(msgspec.Struct, frozen=True, kw_only=True):
    """Reports to be written when a run ends, named after its state file."""

    folder: Path | None = None  #: None = none are written
    formats: tuple[str, ...] = ("html",)


def reports_from(table: Table, *, folder: Path) -> Reports:
    """What the table asks for. `folder` is where its paths begin."""
    name, formats = table.text("folder"), table.read("formats", _report_formats)
    if name is None:
        if formats is not None:
            table.problem("folder", "missing: where the reports go")
        return Reports()
    return Reports(folder=values.path_in(folder, name), formats=formats or ("html",))


def _report_formats(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    for one in listed:
        if one not in FORMATS:
            raise ValueError(f"{one!r} is not known; allowed: {', '.join(FORMATS)}")
    if not listed:
        raise ValueError("is empty; leave the key out instead")
    return tuple(dict.fromkeys(listed))

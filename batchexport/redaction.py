"""Texts without the secrets that this process knows: passwords, tokens, keys, and those in URLs.

Code that reads or receives a secret registers it here. Errors, the cloud's messages, log lines, events and
notifications are redacted where they are made or leave the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache

#: Replaces a secret.
REDACTED = "***"
#: Shorter registered secrets are ignored: they occur in innocent words, such as the name of a cloud.
MIN_REGISTERED_LENGTH = 8
#: Shorter secrets are not removed from the response to a sign-in that sent them.
MIN_SENT_LENGTH = 4
#: Tokens are renewed: the oldest are forgotten, long after they expired.
_MAX_REGISTERED = 400
#: Characters of a sanitized text. Reasons are stored, one line each; longer ones hold tracebacks or a page.
MAX_REASON_LENGTH = 300

_registered: OrderedDict[str, tuple[str, ...]] = OrderedDict()
_all_forms: tuple[str, ...] = ()


def register_secret(*secrets: str | None) -> None:
    """Redact these from now on; None, empty and very short ones are ignored."""
    global _all_forms
    fresh = [secret for secret in secrets if secret and len(secret) >= MIN_REGISTERED_LENGTH]
    if all(secret in _registered for secret in fresh):
        return
    for secret in fresh:
        _registered[secret] = spellings(secret)
        _registered.move_to_end(secret)
    while len(_registered) > _MAX_REGISTERED:
        _registered.popitem(last=False)
    _all_forms = _longest_first(form for forms in list(_registered.values()) for form in forms)


def forget_secrets() -> None:
    """Forget all secrets. For tests only."""
    global _all_forms
    _registered.clear()
    _all_forms = ()


def redacted(text: str) -> str:
    """The text without any registered secret, however it is spelled."""
    for form in _all_forms:
        if form in text:
            text = text.replace(form, REDACTED)
    return text


def without(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, however they are spelled."""
    known = [secret for secret in secrets if len(secret) >= MIN_SENT_LENGTH]
    for form in _longest_first(form for secret in known for form in spellings(secret)):
        text = text.replace(form, REDACTED)
    return text


def sanitize(text: str) -> str:
    """The text on one line, cut to 300 characters, without secrets and terminal control characters."""
    line = " ".join(redacted(text).split())
    if not line.isprintable():
        line = "".join(character for character in line if character.isprintable())
    line = redacted(line)
    return line if len(line) <= MAX_REASON_LENGTH else line[: MAX_REASON_LENGTH - 1] + "…"


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text without these and all registered secrets: clouds quote requests, and so passwords."""
    return redacted(without(text, secrets))


def hide_secrets_in_bytes(body: bytes, secrets: Iterable[str]) -> bytes:
    """The same for the body of a response."""
    return hide_secrets(body.decode(errors="surrogateescape"), secrets).encode(errors="surrogateescape")


@lru_cache(maxsize=64)
def spellings(secret: str) -> tuple[str, ...]:
    """The secret as it stands in plain text, JSON, URLs, HTML and Python's own notation."""
    import html
    import json
    from urllib.parse import quote, quote_plus

    as_json = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    as_html = html.escape(secret)
    found = {
        secret,
        *as_json,
        *(form.replace("/", "\\/") for form in as_json),
        *(form.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e") for form in as_json),
        *(quoted(secret) for quoted in (quote, quote_plus)),
        quote(secret, safe=""),
        html.escape(secret, quote=False),
        as_html,
        as_html.replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        as_html.replace("&#x27;", "&apos;"),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
    }
    return tuple(found)


def _longest_first(forms: Iterable[str]) -> tuple[str, ...]:
    """Sorted so that a whole escaped secret is replaced before a plain one that is part of it."""
    return tuple(sorted(set(forms), key=len, reverse=True))

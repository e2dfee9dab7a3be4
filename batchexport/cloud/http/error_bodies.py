"""What the body of an error response says, whatever its format. Pure; never raises: a broken body says less.

Known formats are the native one of EVS and IMS (`{"error": {...}}`), Cinder's (`{"badRequest": {...}}` and
the like), the gateway's (`error_code`, `error_msg`), Keystone's, Glance's (`message` and a textual code), and
HTML or plain text from a gateway or proxy.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from string import ascii_lowercase, ascii_uppercase

import msgspec

from batchexport.redaction import redacted, sanitize

#: Bytes of an error response that are read. The longest reason seen, a schema error, has 2,000.
MAX_ERROR_BODY_BYTES = 65_536

_HIDDEN_TAG = re.compile(r"<(head|style|script)\b")
#: Unlike str.lower, it never changes the length of a text.
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_TAG_START = re.compile(r"<[!/a-zA-Z]")
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_MARKUP = re.compile(r"\s*(<!doctype|<html|<head|<body|<\?xml)", re.IGNORECASE)
#: A code that only repeats the HTTP status: `400`, `"404 Not Found"`.
_STATUS_AS_CODE = re.compile(r"\d{3}(?!\d)(\s.*)?")


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What an error response says. Empty where its body is unreadable."""

    message: str = ""  #: one line of at most 300 characters
    #: The cloud's code, or the name of the fault where the code only repeats the HTTP status.
    code: str | None = None
    request_id: str | None = None
    retry_after: str | None = None


def read_error_body(body: bytes) -> ErrorBody:
    """What the body of an error response says."""
    beginning = body[:MAX_ERROR_BODY_BYTES]
    try:
        document: object = msgspec.json.decode(beginning)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the last one: nested too deep
        return ErrorBody(message=_text(redacted(beginning.decode(errors="replace"))))
    return _read_document(document)


def _text(text: str) -> str:
    if not _MARKUP.match(text):
        return sanitize(text)
    return sanitize(html.unescape(_visible(text))) or sanitize(html.unescape(_title(text)))


def _visible(markup: str) -> str:
    """The visible text of a page. Reads each character once, even if tags are left open."""
    lower = markup.translate(_LOWER)
    pieces: list[str] = []
    at = 0
    while (tag := _TAG_START.search(markup, at)) is not None:
        pieces.append(markup[at : tag.start()])
        at = _end_of(lower, tag.start())
        if at < 0:  # never closed: a browser does not show the rest either
            return " ".join(pieces)
    return " ".join([*pieces, markup[at:]])


def _end_of(lower: str, start: int) -> int:
    """Where the tag, comment or invisible element that begins at `start` ends; -1 = never."""
    if lower.startswith("<!--", start):
        return _after(lower, "-->", start + 4)
    if (hidden := _HIDDEN_TAG.match(lower, start)) is not None:
        closing = lower.find(f"</{hidden[1]}", start)
        return -1 if closing < 0 else _after(lower, ">", closing)
    return _after(lower, ">", start)


def _after(text: str, what: str, start: int) -> int:
    found = text.find(what, start)
    return -1 if found < 0 else found + len(what)


def _title(markup: str) -> str:
    lower = markup.translate(_LOWER)
    begin = _after(lower, "<title", 0)
    begin = _after(lower, ">", begin) if begin >= 0 else -1
    end = lower.find("</title", begin) if begin >= 0 else -1
    return markup[begin:end] if end >= 0 else ""


def _read_document(document: object) -> ErrorBody:
    if isinstance(document, str):
        return ErrorBody(message=_text(document))
    if not isinstance(document, dict):
        return ErrorBody()
    if "error_code" in document or "error_msg" in document:
        return _fault(document, message="error_msg", code="error_code")
    named = _named_fault(document)
    return _fault(document) if named is None else named


def _named_fault(document: Mapping[object, object]) -> ErrorBody | None:
    """The fault in `{"<name>": {"message": …}}`, `{"error": "…"}` or `{"errors": [{…}]}`, if it is one."""
    for name, value in document.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and ("message" in inner or "code" in inner):
            return _fault(inner, name=None if name in ("error", "errors") else str(name))
    error = document.get("error")
    return ErrorBody(message=_text(error)) if isinstance(error, str) else None


def _fault(
    holder: Mapping[object, object], *, name: str | None = None, message: str = "message", code: str = "code"
) -> ErrorBody:
    return ErrorBody(
        message=_message(holder, (message, "title", "detail", "details")),
        code=_code(holder.get(code)) or name,
        request_id=_word(holder.get("request_id")),
        retry_after=_word(holder.get("retryAfter")),
    )


def _message(holder: Mapping[object, object], keys: Iterable[str]) -> str:
    """The first of these values that is text."""
    texts = (value for key in keys if isinstance(value := holder.get(key), str))
    return next((line for text in texts if (line := _text(_LINE_BREAK.sub(" ", text)))), "")


def _code(value: object) -> str | None:
    code = _word(value)
    return None if code is None or _STATUS_AS_CODE.fullmatch(code) else code


def _word(value: object) -> str | None:
    """A number or a non-empty string as a string: clouds use both for the same field."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return sanitize(str(value)) or None

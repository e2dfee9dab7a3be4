"""The signature SDK-HMAC-SHA256, by which EVS clouds know an access key. Pure: the time is passed in.

The secret signs a digest of the request: method, path, query, some headers and the body. A signature is good
for the minute it was made in: the cloud takes those whose time is at most 15 minutes off its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ALGORITHM = "SDK-HMAC-SHA256"
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key and its secret (AK/SK). Temporary ones come with a security token."""

    access: str
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)


def signed_headers(
    key: AccessKey, *, method: str, url: str, headers: Mapping[str, str], body: bytes, at_s: float
) -> dict[str, str]:
    """The headers with the signature and all it needs. What goes into the signature must not change after it.

    `url` is as on the wire, `at_s` the time of the signature in seconds since the epoch.
    """
    date = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "Host": _host(url), "X-Sdk-Date": date}
    if key.security_token:
        signed["X-Security-Token"] = key.security_token
    names = ";".join(sorted(name.lower() for name in signed))
    digest = hashlib.sha256(canonical_request(method, url, signed, body).encode()).hexdigest()
    text = f"{ALGORITHM}\n{date}\n{digest}"
    signature = hmac.new(key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    signed["Authorization"] = f"{ALGORITHM} Access={key.access}, SignedHeaders={names}, Signature={signature}"
    return signed


def canonical_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """The request in the one spelling that both sides sign, whatever happened to it on the way."""
    parts = urlsplit(url)
    # The path always ends with a slash here, and only here.
    path = quote(unquote(parts.path), safe="/").removesuffix("/") + "/"
    pairs = sorted(parse_qsl(parts.query, keep_blank_values=True))
    query = "&".join(f"{_encoded(name)}={_encoded(text)}" for name, text in pairs)
    lines = sorted((name.lower(), text.strip()) for name, text in headers.items())
    spelled = "".join(f"{name}:{text}\n" for name, text in lines)
    names = ";".join(name for name, _ in lines)
    return f"{method}\n{path}\n{query}\n{spelled}\n{names}\n{hashlib.sha256(body).hexdigest()}"


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _host(url: str) -> str:
    """The host as the `Host` header names it: with its port, unless that is the usual one."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2].removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))

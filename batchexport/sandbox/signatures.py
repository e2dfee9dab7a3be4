"""Access keys and the signature SDK-HMAC-SHA256, from the side of the cloud that checks it.

Written from the description of the algorithm, apart from the client's own: each proves the other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
from aiohttp import web

from batchexport.sandbox import settings as account

#: How far the time of a signature may be off.
MAX_SKEW_S = 900.0
#: So many bad signatures in a row lock a key for so long.
TRIES = 5
LOCKED_S = 300.0

_HEADER = re.compile(r"SDK-HMAC-SHA256 Access=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})")
_DATE = "%Y%m%dT%H%M%SZ"
_KEYS = {
    account.ACCESS_KEY: (account.SECRET_KEY, None),
    account.TEMPORARY_ACCESS_KEY: (account.TEMPORARY_SECRET_KEY, account.SECURITY_TOKEN),
}


class KeyLock(msgspec.Struct, kw_only=True):
    """How often in a row a key was refused, and until when it is locked."""

    failures: int = 0
    locked_until: float = 0.0

    def refusal(self, wrong: str | None, now: float) -> str | None:
        """What to answer a request in which this is wrong (None = nothing); None = let it through."""
        if now < self.locked_until:
            return "AK access failed to reach the limit,forbidden."
        if wrong is None:
            self.failures = 0
            return None
        self.failures += 1
        if self.failures >= TRIES:
            self.failures, self.locked_until = 0, now + LOCKED_S
        return wrong


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature as a request carries it."""

    access: str
    header_names: list[str]
    value: str


def read_signature(headers: Mapping[str, str]) -> Signature | None:
    """The signature of a request, or None where it has none."""
    match = _HEADER.fullmatch(headers.get("Authorization", ""))
    return match and Signature(access=match[1], header_names=match[2].split(";"), value=match[3])


def fault_of(signature: Signature, request: web.Request, body: bytes, now: float) -> str | None:
    """What is wrong with the signature of a request, in the gateway's words; None = nothing."""
    if signature.access not in _KEYS:
        return f"Get secretKey failed,ak:{signature.access},err:ak not exist"
    secret, security_token = _KEYS[signature.access]
    date = request.headers.get("X-Sdk-Date", "")
    if not _is_current(date, now):
        server = datetime.fromtimestamp(now, UTC).strftime(_DATE)
        return f"calc ak sk signature fail:signature expired, signature time:{date},server time:{server}"
    expected = _expected(request, body, signature.header_names, secret=secret, date=date)
    if not hmac.compare_digest(signature.value, expected):
        return "verify aksk signature fail"
    if request.headers.get("X-Security-Token") != security_token:
        return "decrypt security token fail"
    return None


def _is_current(date: str, now: float) -> bool:
    try:
        signed_at = datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return False
    return abs(now - signed_at) <= MAX_SKEW_S


def _expected(request: web.Request, body: bytes, names: list[str], *, secret: str, date: str) -> str:
    path = "/".join(_escaped(part) for part in request.path.split("/"))
    query = "&".join(f"{_escaped(name)}={_escaped(text)}" for name, text in sorted(request.query.items()))
    lines = [
        request.method,
        path if path.endswith("/") else f"{path}/",
        query,
        *(f"{name}:{request.headers.get(name, '').strip()}" for name in names),
        "",
        ";".join(names),
        request.headers.get("X-Sdk-Content-Sha256") or hashlib.sha256(body).hexdigest(),
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = f"SDK-HMAC-SHA256\n{date}\n{digest}"
    return hmac.digest(secret.encode(), text.encode(), "sha256").hex()


def _escaped(text: str) -> str:
    return quote(text, safe="-_.~")

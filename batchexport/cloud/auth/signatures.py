"""Signing each request with an access key (SDK-HMAC-SHA256): no sign-in, no token, nothing to renew.

The secret signs a digest of the request: method, path, query, some headers and the body. A signature is good
for the minute it was made in: the cloud takes those whose time is at most 15 minutes off its own.

Five bad signatures in a row lock a key for five minutes, for whoever uses it. So after the first one nothing
more is sent, unless the key was good before: then one node of a gateway may be wrong, and three more requests
may find that out, each alone and after a pause.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from batchexport.cloud.auth.access_keys import AccessKey
from batchexport.cloud.catalog import CatalogEntry
from batchexport.cloud.http.authenticator import Credential
from batchexport.cloud.http.transport import service_headers
from batchexport.errors import SignInError
from batchexport.redaction import register_secret

ALGORITHM = "SDK-HMAC-SHA256"
#: A signature whose time differs more from the cloud's clock is refused.
MAX_SKEW_S = 900.0
#: How long nothing is sent after the first, second and third refusal of a key that worked; then for good.
PAUSES_S = (30.0, 120.0, 480.0)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class RequestSigner:
    """Authenticator and credential in one: the key of a project stays the same for the whole run."""

    issued_at = None

    def __init__(
        self,
        key: AccessKey,
        *,
        project_id: str,
        catalog: tuple[CatalogEntry, ...],
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self.project_id = project_id
        self.catalog = catalog
        self._now = now
        self._steady = steady
        self._refusal: SignInError | None = None  # of the last request with a response
        self._refusals = 0  # in a row
        self._again_at: float | None = None  # when one request may try; None = never
        self._may_try = self._is_trying = False  # one request may, and is under way
        self._was_good = False
        register_secret(*self.secrets)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret of the key, and the security token of a temporary one."""
        return tuple(secret for secret in (self._key.secret, self._key.security_token) if secret)

    async def valid(self) -> Credential:
        """The key. Raises SignInError once it was refused, except for one request after each pause."""
        if self._refusal is not None:
            if self._again_at is None or self._steady() < self._again_at:
                raise self._refusal
            self._may_try = True
            self._again_at = self._steady() + PAUSES_S[-1]  # the others wait for its outcome
        return self

    def accepted(self) -> None:
        """Note that the cloud accepted a request."""
        self._was_good, self._refusal, self._refusals = True, None, 0

    async def after_refusal(
        self, refused: Credential, error: SignInError, *, clock_off_s: float
    ) -> Credential:
        """Raises SignInError with what to do, now and for later requests: there is no other key."""
        if (
            self._refusal is None or self._is_trying
        ):  # not for requests that were sent together with the first
            self._is_trying = False
            self._refusal = signature_error(error, clock_off_s=clock_off_s, key=self._key)
            may_pass = self._was_good and self._refusals < len(PAUSES_S)
            self._again_at = self._steady() + PAUSES_S[self._refusals] if may_pass else None
            self._refusals += 1
        raise self._refusal from error

    def headers(
        self, method: str, url: str, body: bytes | None, microversion: str | None
    ) -> Mapping[str, str]:
        """The headers of one request with its signature. Raises SignInError once the key was refused."""
        if self._refusal is not None:
            if not self._may_try:  # refused while this request waited for its turn
                raise self._refusal
            self._may_try, self._is_trying = False, True
        # Only these headers are signed: proxies may change the others.
        signed = {"Content-Type": "application/json", "X-Project-Id": self.project_id}
        return service_headers(microversion) | signed_headers(
            self._key, method=method, url=url, headers=signed, body=body or b"", at_s=self._now()
        )


def signature_error(error: SignInError, *, clock_off_s: float, key: AccessKey) -> SignInError:
    """The refusal of a signature, with what to do. `clock_off_s`: by how much the cloud's clock is ahead."""
    words = str(error)
    if abs(clock_off_s) > MAX_SKEW_S:
        direction = "behind" if clock_off_s > 0 else "ahead of"
        words += f"; this machine's clock is {abs(clock_off_s) / 60:.0f} minutes {direction} the cloud's"
        hint = "set this machine's clock: the cloud accepts signatures for 15 minutes"
    elif "reach the limit" in words:
        hint = "five bad signatures lock a key for five minutes: check key and secret, wait, then run again"
    elif "not exist" in words:
        hint = "this cloud has no such access key: check access_key, and the region"
    elif key.security_token:
        hint = "temporary keys expire: get a new key with its secret and security token, then run again"
    else:
        hint = "check that access_key and secret_key belong together, and that the project is in this region"
    return SignInError(
        words,
        method=error.method,
        url=error.url,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        hint=hint,
    )


def signed_headers(
    key: AccessKey, *, method: str, url: str, headers: Mapping[str, str], body: bytes, at_s: float
) -> dict[str, str]:
    """The headers with their signature. What is signed must not change afterwards.

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
    """The request in the canonical form that both sides sign."""
    parts = urlsplit(url)
    # In the canonical form, and only there, the path always ends with a slash.
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
    """The host as in the `Host` header: with its port, unless that is the default."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2].removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))

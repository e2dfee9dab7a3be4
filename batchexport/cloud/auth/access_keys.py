"""Access keys (AK/SK): where they are configured, and the signature of each request (SDK-HMAC-SHA256).

There is no sign-in, no token and nothing to renew. The secret signs a digest of the request: method, path,
query, some headers and the body. A signature is good for the minute it was made in: the cloud takes those
whose time is at most 15 minutes off its own.

Five bad signatures in a row lock a key for five minutes, for whoever uses it. So after the first one nothing
more is sent, unless the key was good before: then one node of a gateway may be wrong, and three more requests
may find that out, each alone and after a pause.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from batchexport.cloud.catalog import CatalogEntry
from batchexport.cloud.http.authenticator import JSON, Credential
from batchexport.cloud.http.transport import service_headers
from batchexport.errors import AuthenticationError, ConfigError
from batchexport.redaction import register_secret

#: The value of `auth_type` for access keys.
AUTH_TYPE = "aksk"
#: Names of key, secret and security token, by where they are configured. A pair always comes from one place.
_IN_CONFIG = (("access_key", "ak"), ("secret_key", "sk"), ("security_token",))
_IN_ENVIRONMENT = (
    (("OS_ACCESS_KEY",), ("OS_SECRET_KEY",), ("OS_SECURITY_TOKEN",)),
    (("HUAWEICLOUD_SDK_AK",), ("HUAWEICLOUD_SDK_SK",), ("HUAWEICLOUD_SDK_SECURITY_TOKEN",)),
)
#: Other secrets: beside one of these, keys are for something else, such as object storage.
_OTHER_SECRETS = ("password", "token", "application_credential_secret")
#: Domains by region, where no `auth_url` tells. All others are Huawei Cloud's own.
_DOMAIN_OF_REGION = {
    "eu-de": "otc.t-systems.com",
    "eu-nl": "otc.t-systems.com",
    "eu-west-0": "prod-cloud-ocb.orange-business.com",
}
_DOMAIN = "myhuaweicloud.com"
_PROJECT_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key and its secret (AK/SK). Temporary ones come with a security token."""

    access: str
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)


def find_access_key(config: Mapping[str, object], environment: Mapping[str, str]) -> AccessKey | None:
    """The key for this entry of clouds.yaml; None = it signs in in another way.

    Raises ConfigError if half of a pair is missing, or `auth_type: aksk` has no key.
    """
    auth = _auth_of(config)
    asked_for = config.get("auth_type") == AUTH_TYPE
    if not asked_for and _signs_in_otherwise(str(config.get("auth_type") or "password"), {**config, **auth}):
        return None
    places = [(auth, _IN_CONFIG), (config, _IN_CONFIG)] + [(environment, names) for names in _IN_ENVIRONMENT]
    for place, names in places:
        found = [_first(place, choices) for choices in names]
        if found[0] or found[1]:
            return _pair(found, names)
    if asked_for:
        raise ConfigError(
            "auth_type aksk needs an access key",
            hint="set access_key and secret_key in clouds.yaml, or HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK",
        )
    return None


def project_of(config: Mapping[str, object], environment: Mapping[str, str], *, wanted: str | None) -> str:
    """The id of the project to sign for. Raises ConfigError if there is none: a name is not enough."""
    auth = _auth_of(config)
    configured = auth.get("project_id") or environment.get("HUAWEICLOUD_SDK_PROJECT_ID")
    wanted_by_name = wanted is not None and wanted == auth.get("project_name")
    project = str((configured if wanted_by_name else wanted or configured) or "")
    if not _PROJECT_ID.fullmatch(project):
        found = f"{wanted or project!r} is not one" if wanted or project else "none is set"
        raise ConfigError(
            f"an access key needs the project's id of 32 hexadecimal digits; {found}",
            hint="set project_id in clouds.yaml, OS_PROJECT_ID or HUAWEICLOUD_SDK_PROJECT_ID, and use"
            " the id in the list",
        )
    return project


def service_entries(region: str | None, auth_url: str | None, *, interface: str) -> tuple[CatalogEntry, ...]:
    """The endpoints of a region by the clouds' naming rule; empty where it does not apply."""
    rule = _rule(region, auth_url)
    if rule is None:
        return ()
    return tuple(
        CatalogEntry(service_type=name, interface=interface, region=region, url=rule.format(name))
        for name in ("evs", "ims", "ecs")
    )


def _rule(region: str | None, auth_url: str | None) -> str | None:
    if not region:
        return None
    if not auth_url:
        return f"https://{{}}.{region}.{_DOMAIN_OF_REGION.get(region, _DOMAIN)}"
    # `iam.eu-de.otc.t-systems.com`, `iam.myhuaweicloud.com`: others differ only in the first part.
    name, _, domain = (urlsplit(auth_url).hostname or "").partition(".")
    if not name.startswith("iam"):
        return None
    return f"https://{{}}{name.removeprefix('iam')}.{region}.{domain.removeprefix(region + '.')}"


def _auth_of(config: Mapping[str, object]) -> Mapping[str, object]:
    inside = config.get("auth")
    return inside if isinstance(inside, Mapping) else {}


def _signs_in_otherwise(auth_type: str, auth: Mapping[str, object]) -> bool:
    return auth_type != "password" or any(auth.get(name) for name in _OTHER_SECRETS)


def _first(place: Mapping[str, object], names: Sequence[str]) -> str | None:
    return next((str(place[name]) for name in names if place.get(name)), None)


def _pair(found: Sequence[str | None], names: Sequence[Sequence[str]]) -> AccessKey:
    access, secret, security_token = found
    if access is None or secret is None:
        there, missing = (names[1][0], names[0][0]) if access is None else (names[0][0], names[1][0])
        raise ConfigError(
            f"{there} is set, {missing} is not", hint="set both: a key works only with its secret"
        )
    return AccessKey(access=access, secret=secret, security_token=security_token)


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
        self._refusal: AuthenticationError | None = None  # of the last request with a response
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
        """The key. Raises AuthenticationError once refused, except for one request after each pause."""
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
        self, refused: Credential, error: AuthenticationError, *, clock_off_s: float
    ) -> Credential:
        """Raises AuthenticationError with what to do, now and for later requests: there is no other key."""
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
        self,
        method: str,
        url: str,
        body: bytes | None,
        microversion: str | None,
        content_type: str = JSON,
    ) -> Mapping[str, str]:
        """The headers of one signed request. Raises AuthenticationError once the key is refused."""
        if self._refusal is not None:
            if not self._may_try:  # refused while this request waited for its turn
                raise self._refusal
            self._may_try, self._is_trying = False, True
        # Only these headers are signed: proxies may change the others.
        signed = {"Content-Type": content_type, "X-Project-Id": self.project_id}
        return service_headers(microversion) | signed_headers(
            self._key, method=method, url=url, headers=signed, body=body or b"", at_s=self._now()
        )


def signature_error(error: AuthenticationError, *, clock_off_s: float, key: AccessKey) -> AuthenticationError:
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
    return AuthenticationError(
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

"""Signing in to an identity service (Keystone) with one POST, and the errors of signing in.

One POST is enough for a password or an application credential. keystoneauth handles every other account (see
`keystone_plugins`); it would be a seventh of all that a run imports.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import msgspec

from batchexport.cloud.auth.tokens import Token
from batchexport.cloud.catalog import CatalogEntry
from batchexport.cloud.http.error_bodies import read_error_body
from batchexport.cloud.http.responses import epoch_s, retry_after_s
from batchexport.cloud.http.transport import TlsConfig, service_headers
from batchexport.errors import (
    AuthenticationError,
    BatchExportError,
    ConfigError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from batchexport.proxies import proxy_for
from batchexport.redaction import hide_secrets, hide_secrets_in_bytes, register_secret, sanitize

SET_IT = "set it in clouds.yaml, as an OS_ variable, or with its --os- flag"
ENDS_IN_V3 = "check auth_url (OS_AUTH_URL): it usually ends in /v3"
#: Seconds without a byte from the identity service. keystoneauth itself would wait for ever.
SILENCE_TIMEOUT_S = 20.0
#: Large clouds have a catalog of some 100 KB.
MAX_TOKEN_RESPONSE_BYTES = 16 * 1024 * 1024
#: Names of values that are secrets, whatever plug-in they are for.
_SECRET_NAME = re.compile(r"(.*_)?(password|passwd|passcode|secret|token|secret_key|sk)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The user and project that sign in, as far as the configuration names them, and their secrets."""

    user: str | None = None
    project: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, auth: Mapping[str, object]) -> Principal:
        """The principal described by the values for keystoneauth. Its secrets are redacted from now on."""
        secrets = secrets_in(auth)
        register_secret(*secrets)
        return cls(
            user=_first(auth, ("username", "user_id", "application_credential_id")),
            project=_first(auth, ("project_name", "project_id", "tenant_name", "tenant_id")),
            secrets=secrets,
        )

    def __str__(self) -> str:
        named = (("user", self.user), ("project", self.project))
        return ", ".join(f"{kind} {name}" for kind, name in named if name) or "this account"


def secrets_in(values: Mapping[str, object]) -> tuple[str, ...]:
    """The secrets among settings, by their names, for every plug-in (`oauth2_client_secret` …)."""
    found = {
        str(value)
        for name, value in values.items()
        if value and isinstance(value, str | int) and _SECRET_NAME.fullmatch(name.lower().replace("-", "_"))
    }
    return tuple(sorted(found))


def _first(values: Mapping[str, object], names: Iterable[str]) -> str | None:
    return next((str(values[name]) for name in names if values.get(name)), None)


class _Named(msgspec.Struct):
    """The user, project or role of a token."""

    id: str | None = None
    name: str | None = None


class _Endpoint(msgspec.Struct):
    """One endpoint of a service."""

    interface: str | None = None
    region: str | None = None
    region_id: str | None = None
    url: str | None = None


class _Service(msgspec.Struct):
    """A service of the catalog."""

    type: str | None = None
    name: str | None = None
    endpoints: list[_Endpoint] = []


class _TokenRecord(msgspec.Struct):
    """A token as the identity service describes it."""

    issued_at: str | None = None
    expires_at: str | None = None
    project: _Named | None = None
    user: _Named | None = None
    roles: list[_Named] = []
    catalog: list[_Service] = []


class _TokenResponse(msgspec.Struct):
    """The response to a sign-in."""

    token: _TokenRecord | None = None


_RESPONSE = msgspec.json.Decoder(_TokenResponse)


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: the password was meant for one address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None: the redirect itself is the response."""


def sign_in_by_post(
    auth_url: str, credentials: Mapping[str, str], tls: TlsConfig, identity: Principal, *, silence_s: float
) -> Token:
    """A new token from the identity service at this URL, which ends in /v3. Blocks.

    `credentials` hold what signs in, and for which project, by the names of keystoneauth. Raises
    AuthenticationError, UnreachableError or TransientError if there is no token, and ConfigError if it is
    for no project.
    """
    service = describe_service(auth_url)
    request = Request(
        f"{auth_url}/auth/tokens",
        data=msgspec.json.encode({"auth": auth_document(credentials)}),
        headers=service_headers(None),
    )
    try:
        with _opener(request, tls).open(request, timeout=silence_s) as response:
            return _token(response.headers["X-Subject-Token"], _content(response))
    except HTTPError as error:
        with error:
            raise refusal(error.code, error.headers, _beginning(error), service, identity) from None
    except (URLError, OSError, HTTPException) as error:
        raise unreachable(error, service, identity) from error
    except (ValueError, LookupError, zlib.error, RecursionError) as error:
        raise unexpected_response(error, service, identity) from None


def _content(response: Any) -> bytes:
    """The whole body, decompressed if a proxy compressed it. Raises ValueError if it is too large."""
    body: bytes = response.read(MAX_TOKEN_RESPONSE_BYTES + 1)
    if response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip", "deflate"):
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # detects gzip and zlib
        body = unpacking.decompress(body, MAX_TOKEN_RESPONSE_BYTES + 1)
    if len(body) > MAX_TOKEN_RESPONSE_BYTES:
        raise ValueError(f"more than {MAX_TOKEN_RESPONSE_BYTES // 2**20} MiB")
    return body


def _beginning(error: HTTPError) -> bytes:
    """The body of an error; empty if it cannot be read."""
    try:
        return _content(error)
    except (OSError, HTTPException, ValueError, zlib.error):
        return b""


def auth_document(credentials: Mapping[str, str]) -> dict[str, Any]:
    """The document that signs in. Pure."""
    if "application_credential_id" in credentials:
        # It belongs to one project and user, and must not name them.
        credential = {
            "id": credentials["application_credential_id"],
            "secret": credentials["application_credential_secret"],
        }
        return {"identity": {"methods": ["application_credential"], "application_credential": credential}}
    user = {"name": credentials["username"], "password": credentials["password"]} | _domain(
        credentials, "user"
    )
    document: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if "project_id" in credentials:
        document["scope"] = {"project": {"id": credentials["project_id"]}}
    elif "project_name" in credentials:
        document["scope"] = {
            "project": {"name": credentials["project_name"]} | _domain(credentials, "project")
        }
    return document


def _domain(credentials: Mapping[str, str], whose: str) -> dict[str, Any]:
    for name in ("id", "name"):
        if value := credentials.get(f"{whose}_domain_{name}"):
            return {"domain": {name: value}}
    return {}


def _opener(request: Request, tls: TlsConfig) -> Any:
    proxy = proxy_for(request.full_url)
    named = {} if proxy is None else {request.type: proxy.url_with_password}
    handlers: list[Any] = [ProxyHandler(named), _NoRedirects()]
    if request.type == "https":
        handlers.append(HTTPSHandler(context=tls.context()))
    return build_opener(*handlers)


def _token(value: str | None, body: bytes) -> Token:
    if not value:
        raise KeyError("X-Subject-Token")
    record = _RESPONSE.decode(body).token
    if record is None:
        raise KeyError("token")
    project = record.project or _Named()
    check_project(project.id, project.name, wanted=None)
    return Token(
        value=value,
        issued_at=epoch_s(record.issued_at),
        expires_at=epoch_s(record.expires_at),
        project_id=project.id,
        catalog=tuple(_entries(record.catalog)),
        project_name=project.name,
        user_name=record.user.name if record.user else None,
        roles=tuple(role.name for role in record.roles if role.name),
    )


def _entries(catalog: list[_Service]) -> list[CatalogEntry]:
    return [
        CatalogEntry(
            service_type=service.type,
            service_name=service.name,
            interface=endpoint.interface or "public",
            region=endpoint.region or endpoint.region_id,
            url=endpoint.url or "",
        )
        for service in catalog
        if service.type
        for endpoint in service.endpoints
    ]


def describe_service(auth_url: str) -> str:
    """The identity service as messages name it, with its proxy."""
    proxy = proxy_for(auth_url) if auth_url else None
    through = f" through the {proxy}" if proxy is not None else ""
    return f"identity service {auth_url or 'without a URL'}{through}"


def check_project(project_id: str | None, name: str | None, *, wanted: str | None) -> None:
    """Raises ConfigError if the token is not for the `wanted` project; None = any."""
    if not project_id:
        raise ConfigError(
            "signed in, but to no project",
            hint="set OS_PROJECT_NAME or OS_PROJECT_ID, or project_name in clouds.yaml",
        )
    if wanted and wanted not in (project_id, name):
        raise ConfigError(
            f"signed in to project {name or project_id}; the list asks for {wanted}",
            hint="an application credential holds for one project: each needs its own entry in clouds.yaml",
        )


def unreachable(error: Exception, service: str, identity: Principal) -> UnreachableError:
    """The error for an identity service that did not respond."""
    cause = _innermost(error)
    # The system's own message if there is one: libraries wrap it in addresses and class names.
    told = (cause.strerror or "").lower() if isinstance(cause, OSError) else ""
    words = (
        told
        or sanitize(hide_secrets(str(cause), identity.secrets))
        or sanitize(hide_secrets(str(error), identity.secrets))
    )
    return UnreachableError(
        f"{service}: {words}",
        hint="check auth_url (OS_AUTH_URL), the network, and cacert if the certificate is not trusted",
    )


def _innermost(error: BaseException) -> BaseException:
    """The original error. requests keeps its causes in a field of its own."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def refusal(status: int, headers: Any, body: bytes, service: str, identity: Principal) -> BatchExportError:
    """The error for a response with an HTTP status of 300 or more."""
    request_id = sanitize(headers.get("x-openstack-request-id") or "")
    more: dict[str, Any] = {"status": status, "request_id": request_id or None}
    if status < 400:
        place = sanitize(headers.get("Location") or "nowhere")
        return AuthenticationError(
            f"{service}: redirected to {place}; redirects are not followed ({status})",
            **more,
            hint="the password is sent to one address only: if the new one is right, set it as auth_url",
        )
    words = _words(status, body, identity)
    if status >= 500 or status in (408, 429, 498):
        kind = ThrottledError if status in (429, 498) else TransientError
        retry_after = headers.get("Retry-After") or headers.get("X-Retry-After")
        return kind(
            f"{service}: {words} ({status})",
            **more,
            retry_after_s=retry_after_s(retry_after, now_s=time.time()),
            hint="run the same command again when it has recovered",
        )
    if status == 401:
        return AuthenticationError(
            f"{service} refused {identity} (401): {words}", **more, hint=_what_was_refused(identity)
        )
    return AuthenticationError(
        f"{service}: {words} ({status})", **more, hint="check auth_url and the credentials"
    )


def _words(status: int, body: bytes, identity: Principal) -> str:
    """The message of the identity service: keystoneauth shows only what is marked as JSON."""
    words = read_error_body(hide_secrets_in_bytes(body, identity.secrets)).message
    known = status in HTTPStatus.__members__.values()
    return hide_secrets(words, identity.secrets) or (
        HTTPStatus(status).phrase if known else "no reason given"
    )


def _what_was_refused(identity: Principal) -> str:
    if identity.user is None:
        return "the token or key is wrong, has expired, or is not for this project: get a new one"
    return "check user name, password, domains and project"


def unexpected_response(error: Exception, service: str, identity: Principal) -> BatchExportError:
    """The error for a response of another form, and for errors that are not keystoneauth's own."""
    words = sanitize(hide_secrets(str(error), identity.secrets))
    if "required" in words:
        return ConfigError(f"{service}: {words}", hint=SET_IT)
    return AuthenticationError(
        f"{service}: its response is not that of an identity service ({type(error).__name__}: {words})",
        hint=ENDS_IN_V3,
    )

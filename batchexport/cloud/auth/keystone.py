"""Signing in to an identity service (Keystone), and what its answers mean.

One POST does it where a password or an application credential is given. keystoneauth does the same for every
other account (see `keystone_plugins`); loading it is a seventh of all that a run would import.
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
    BatchExportError,
    ConfigError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from batchexport.proxies import proxy_for
from batchexport.redaction import hide_secrets, hide_secrets_in_bytes, register_secret, sanitize

SET_IT = "set it in clouds.yaml, as an OS_ variable, or with its --os- flag"
ENDS_IN_V3 = "check auth_url (OS_AUTH_URL): it usually ends in /v3"
#: Seconds without a word from the identity service. keystoneauth itself would wait for ever.
SILENCE_TIMEOUT_S = 20.0
#: Bytes of an answer to a sign-in. Large clouds have a catalog of some 100 KB.
MAX_TOKEN_RESPONSE_BYTES = 16 * 1024 * 1024
#: Names of values that are secrets themselves, whatever plug-in takes them.
_SECRET_NAME = re.compile(r"(.*_)?(password|passwd|passcode|secret|token|secret_key|sk)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The user and project of a sign-in, as far as the configuration names them, and its secrets."""

    user: str | None = None
    project: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, auth: Mapping[str, object]) -> Principal:
        """The identity that the values for keystoneauth describe. Its secrets are redacted from now on."""
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
    """The secrets among settings, by their names: those of every plug-in, `oauth2_client_secret` too."""
    found = {
        str(value)
        for name, value in values.items()
        if value and isinstance(value, str | int) and _SECRET_NAME.fullmatch(name.lower().replace("-", "_"))
    }
    return tuple(sorted(found))


def _first(values: Mapping[str, object], names: Iterable[str]) -> str | None:
    return next((str(values[name]) for name in names if values.get(name)), None)


class _Named(msgspec.Struct):
    """Whatever the token is for: a user, a project, a role."""

    id: str | None = None
    name: str | None = None


class _Endpoint(msgspec.Struct):
    """One address of a service."""

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
    """What the identity service tells of a token."""

    issued_at: str | None = None
    expires_at: str | None = None
    project: _Named | None = None
    user: _Named | None = None
    roles: list[_Named] = []
    catalog: list[_Service] = []


class _TokenAnswer(msgspec.Struct):
    """The answer to a sign-in."""

    token: _TokenRecord | None = None


_ANSWER = msgspec.json.Decoder(_TokenAnswer)


class _StayHere(HTTPRedirectHandler):
    """Follows nothing: the password was meant for one address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None: the redirection is the answer."""


def sign_in_by_post(
    auth_url: str, proof: Mapping[str, str], tls: TlsConfig, identity: Principal, *, silence_s: float
) -> Token:
    """A new token from the identity service at this URL, which ends in /v3. Blocks.

    `proof` holds what signs in, and for which project, by the names of keystoneauth. Raises SignInError,
    UnreachableError or TransientError where none is given, and ConfigError where it is of no project.
    """
    service = describe_service(auth_url)
    request = Request(
        f"{auth_url}/auth/tokens",
        data=msgspec.json.encode({"auth": auth_document(proof)}),
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
    """The whole answer, unpacked where it comes packed though nobody asked for it. Raises ValueError."""
    body: bytes = response.read(MAX_TOKEN_RESPONSE_BYTES + 1)
    if response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip", "deflate"):
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # tells gzip from zlib by itself
        body = unpacking.decompress(body, MAX_TOKEN_RESPONSE_BYTES + 1)
    if len(body) > MAX_TOKEN_RESPONSE_BYTES:
        raise ValueError(f"more than {MAX_TOKEN_RESPONSE_BYTES // 2**20} MiB")
    return body


def _beginning(error: HTTPError) -> bytes:
    """What an error says; nothing, where that cannot be read."""
    try:
        return _content(error)
    except (OSError, HTTPException, ValueError, zlib.error):
        return b""


def auth_document(proof: Mapping[str, str]) -> dict[str, Any]:
    """What the identity service wants to know. Pure."""
    if "application_credential_id" in proof:
        # It is of one project and user, and refuses to be told of any.
        credential = {
            "id": proof["application_credential_id"],
            "secret": proof["application_credential_secret"],
        }
        return {"identity": {"methods": ["application_credential"], "application_credential": credential}}
    user = {"name": proof["username"], "password": proof["password"]} | _domain(proof, "user")
    document: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if "project_id" in proof:
        document["scope"] = {"project": {"id": proof["project_id"]}}
    elif "project_name" in proof:
        document["scope"] = {"project": {"name": proof["project_name"]} | _domain(proof, "project")}
    return document


def _domain(proof: Mapping[str, str], whose: str) -> dict[str, Any]:
    for name in ("id", "name"):
        if value := proof.get(f"{whose}_domain_{name}"):
            return {"domain": {name: value}}
    return {}


def _opener(request: Request, tls: TlsConfig) -> Any:
    proxy = proxy_for(request.full_url)
    named = {} if proxy is None else {request.type: proxy.url_with_password}
    handlers: list[Any] = [ProxyHandler(named), _StayHere()]
    if request.type == "https":
        handlers.append(HTTPSHandler(context=tls.context()))
    return build_opener(*handlers)


def _token(value: str | None, body: bytes) -> Token:
    if not value:
        raise KeyError("X-Subject-Token")
    record = _ANSWER.decode(body).token
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
    """The identity service as messages name it, with the proxy that leads to it."""
    proxy = proxy_for(auth_url) if auth_url else None
    through = f" through the {proxy}" if proxy is not None else ""
    return f"identity service {auth_url or 'without a URL'}{through}"


def check_project(project_id: str | None, name: str | None, *, wanted: str | None) -> None:
    """Nothing for a token of the project that was wanted (None = of any), or ConfigError."""
    if not project_id:
        raise ConfigError(
            "signed in, but to no project: volumes belong to one",
            hint="set OS_PROJECT_NAME or OS_PROJECT_ID, or project_name in clouds.yaml",
        )
    if wanted and wanted not in (project_id, name):
        raise ConfigError(
            f"signed in to project {name or project_id}; the list asks for {wanted}",
            hint="an application credential holds for one project: each needs its own entry in clouds.yaml",
        )


def unreachable(error: Exception, service: str, identity: Principal) -> UnreachableError:
    """The error for a service that gave no answer."""
    cause = _innermost(error)
    # The system's own word where there is one; the libraries wrap it in their addresses and class names.
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
    """The error that all the others were made of. requests keeps its causes in a field of its own."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def refusal(status: int, headers: Any, body: bytes, service: str, identity: Principal) -> BatchExportError:
    """The error for an answer with an HTTP status above 300."""
    request_id = sanitize(headers.get("x-openstack-request-id") or "")
    more: dict[str, Any] = {"status": status, "request_id": request_id or None}
    if status < 400:
        place = sanitize(headers.get("Location") or "nowhere")
        return SignInError(
            f"{service}: redirected to {place}; redirects are not followed ({status})",
            **more,
            hint="the password was meant for one address: where the new one is right, set it as auth_url",
        )
    words = _words(status, body, identity)
    if status >= 500 or status in (408, 429, 498):
        kind = ThrottledError if status in (429, 498) else TransientError
        asked = headers.get("Retry-After") or headers.get("X-Retry-After")
        return kind(
            f"{service}: {words} ({status})",
            **more,
            retry_after_s=retry_after_s(asked, now_s=time.time()),
            hint="run the same command again when it has recovered",
        )
    if status == 401:
        return SignInError(
            f"{service} refused {identity} (401): {words}", **more, hint=_what_was_refused(identity)
        )
    return SignInError(f"{service}: {words} ({status})", **more, hint="check auth_url and the credentials")


def _words(status: int, body: bytes, identity: Principal) -> str:
    """What the identity service answered: keystoneauth shows only what is marked as JSON."""
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
    """The error for what is none of the library's own: a bare `Exception`, or an answer of another shape."""
    words = sanitize(hide_secrets(str(error), identity.secrets))
    if "required" in words:
        return ConfigError(f"{service}: {words}", hint=SET_IT)
    return SignInError(
        f"{service}: its answer is not that of an identity service ({type(error).__name__}: {words})",
        hint=ENDS_IN_V3,
    )

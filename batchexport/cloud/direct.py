"""Signing in with one POST, where the `OS_…` variables hold a password or an application credential.

keystoneauth does the same for every other account; loading it is a seventh of all that a run would import.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import msgspec

from batchexport.cloud.auth import Token
from batchexport.cloud.authorizer import service_headers
from batchexport.cloud.catalog import Entry
from batchexport.cloud.identity import Identity
from batchexport.cloud.signin import check_project, named_service, odd_answer, refusal, unreachable
from batchexport.cloud.times import epoch_s
from batchexport.cloud.transport import LARGEST_SIGN_IN, Trust
from batchexport.proxies import proxy_for


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


def sign_in_directly(
    auth_url: str, proof: Mapping[str, str], trust: Trust, identity: Identity, *, silence_s: float
) -> Token:
    """A new token from the identity service at this URL, which ends in /v3. Blocks.

    `proof` holds what signs in, and for which project, by the names of keystoneauth. Raises SignInError,
    UnreachableError or TransientError where none is given, and ConfigError where it is of no project.
    """
    service = named_service(auth_url)
    request = Request(
        f"{auth_url}/auth/tokens",
        data=msgspec.json.encode({"auth": auth_document(proof)}),
        headers=service_headers(None),
    )
    try:
        with _opener(request, trust).open(request, timeout=silence_s) as response:
            return _token(response.headers["X-Subject-Token"], _content(response))
    except HTTPError as error:
        with error:
            raise refusal(error.code, error.headers, _beginning(error), service, identity) from None
    except (URLError, OSError, HTTPException) as error:
        raise unreachable(error, service, identity) from error
    except (ValueError, LookupError, zlib.error, RecursionError) as error:
        raise odd_answer(error, service, identity) from None


def _content(response: Any) -> bytes:
    """The whole answer, unpacked where it comes packed though nobody asked for it. Raises ValueError."""
    body: bytes = response.read(LARGEST_SIGN_IN + 1)
    if response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip", "deflate"):
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # tells gzip from zlib by itself
        body = unpacking.decompress(body, LARGEST_SIGN_IN + 1)
    if len(body) > LARGEST_SIGN_IN:
        raise ValueError(f"more than {LARGEST_SIGN_IN // 2**20} MiB")
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


def _opener(request: Request, trust: Trust) -> Any:
    proxy = proxy_for(request.full_url)
    named = {} if proxy is None else {request.type: proxy.url_with_password}
    handlers: list[Any] = [ProxyHandler(named), _StayHere()]
    if request.type == "https":
        handlers.append(HTTPSHandler(context=trust.context()))
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


def _entries(catalog: list[_Service]) -> list[Entry]:
    return [
        Entry(
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

"""The identity service: sign-in by Keystone's v3 protocol, and the catalog of services.

The ways in are a password, an application credential and an earlier token.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import msgspec
from aiohttp import web

from batchexport.sandbox import settings as account
from batchexport.sandbox.auth_gate import is_valid_token, issue_token
from batchexport.sandbox.responses import NOT_SIGNED_IN, Refusal, json_reply
from batchexport.sandbox.settings import Profile
from batchexport.sandbox.state import STATE


def catalog(url: str, profile: Profile) -> list[dict[str, object]]:
    """The services and where they are; `url` is the root of all of them."""
    urls = _evs_urls(url) if profile is Profile.EVS else _openstack_urls(url)
    return [
        {"id": stable_id(type_), "type": type_, "name": name, "endpoints": _endpoints(type_, service_url)}
        for (type_, name), service_url in urls.items()
    ]


def _evs_urls(url: str) -> dict[tuple[str, str], str]:
    return {
        ("identity", "iam"): f"{url}/identity/v3",
        ("image", "ims"): f"{url}/ims",
        ("volumev2", "evs"): f"{url}/evs/v2/{account.PROJECT_ID}",
        ("compute", "nova"): f"{url}/ecs/v2.1/{account.PROJECT_ID}",
        ("ecs", "ecs"): f"{url}/ecs/v1/{account.PROJECT_ID}",
    }


def _openstack_urls(url: str) -> dict[tuple[str, str], str]:
    volume = f"{url}/volume"
    return {
        ("identity", "keystone"): f"{url}/identity/v3",
        ("image", "glance"): f"{url}/image",
        ("volumev2", "cinderv2"): f"{volume}/v2/{account.PROJECT_ID}",
        ("volumev3", "cinderv3"): f"{volume}/v3/{account.PROJECT_ID}",
        ("block-storage", "cinder"): f"{volume}/v3/{account.PROJECT_ID}",
        ("compute", "nova"): f"{url}/compute/v2.1",
    }


def _endpoints(type_: str, url: str) -> list[dict[str, str]]:
    return [
        {
            "id": stable_id(type_, interface),
            "interface": interface,
            "region_id": account.REGION,
            "region": account.REGION,
            "url": url,
        }
        for interface in ("public", "internal", "admin")
    ]


def stable_id(*what: str) -> str:
    """An id in Keystone's spelling that is always the same for the same thing."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(what)).hex


MALFORMED = (
    "The server could not comply with the request since it is either malformed or otherwise incorrect. "
    "The client is assumed to be in error."
)


class Domain(msgspec.Struct):
    """A domain, by either."""

    id: str | None = None
    name: str | None = None


class User(msgspec.Struct):
    """A user, by id or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: Domain | None = None
    password: str | None = None


class Password(msgspec.Struct):
    """The password method."""

    user: User


class TokenMethod(msgspec.Struct):
    """The token method: an earlier token."""

    id: str


class ApplicationCredential(msgspec.Struct):
    """The application credential method."""

    secret: str
    id: str | None = None
    name: str | None = None
    user: User | None = None


class Identity(msgspec.Struct):
    """Who signs in, and how."""

    methods: list[str]
    password: Password | None = None
    token: TokenMethod | None = None
    application_credential: ApplicationCredential | None = None


class Project(msgspec.Struct):
    """A project, by id or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: Domain | None = None


class Scope(msgspec.Struct):
    """What the token is for. None = the user's own project."""

    project: Project | None = None
    domain: Domain | None = None


class Auth(msgspec.Struct):
    """The inner part of a sign-in."""

    identity: Identity
    scope: Scope | str | None = None


class SignIn(msgspec.Struct):
    """The body of a sign-in."""

    auth: Auth


def routes() -> list[web.RouteDef]:
    """The paths of the identity service."""
    return [
        web.get("/identity", list_versions),
        web.get("/identity/", list_versions),
        web.get("/identity/v3", get_version),
        web.get("/identity/v3/", get_version),
        web.post("/identity/v3/auth/tokens", auth),
    ]


async def list_versions(request: web.Request) -> web.Response:
    """The versions of the service: one."""
    return json_reply({"versions": {"values": [_version(request)]}}, status=300)


async def get_version(request: web.Request) -> web.Response:
    """The one version."""
    return json_reply({"version": _version(request)})


async def auth(request: web.Request) -> web.Response:
    """A token, and the catalog of the services it is for."""
    state = request.app[STATE]
    asked = _read_sign_in(await request.read())
    now = state.now()
    is_ours = partial(is_valid_token, now=now, generation=state.token_generation)
    if not (_is_known(asked.identity, is_ours) and _is_in_reach(asked.scope)):
        raise Refusal(401, NOT_SIGNED_IN)
    expires_at = now + state.settings.token_life_s
    services = catalog(_base_url(request), state.settings.profile)
    body = _token_body(asked.identity.methods, now, expires_at, services)
    headers = {"X-Subject-Token": issue_token(expires_at=expires_at, generation=state.token_generation)}
    return json_reply({"token": body}, status=201, headers=headers)


def _read_sign_in(body: bytes) -> Auth:
    try:
        return msgspec.json.decode(body, type=SignIn).auth
    except msgspec.ValidationError:
        raise Refusal(400, f"Expecting to find auth in request body. {MALFORMED}") from None
    except msgspec.DecodeError:
        raise Refusal(400, f"Expecting to find valid JSON in request body. {MALFORMED}") from None


def _is_known(identity: Identity, is_our_token: Callable[[str], bool]) -> bool:
    """Whether every method named is one of ours and its proof is right."""
    password, token, credential = identity.password, identity.token, identity.application_credential
    proofs = {
        "password": password is not None and _is_password_right(password.user),
        "token": token is not None and is_our_token(token.id),
        "application_credential": credential is not None and _is_secret_right(credential),
    }
    return bool(identity.methods) and all(proofs.get(method, False) for method in identity.methods)


def _is_password_right(user: User) -> bool:
    return _is_our_user(user) and user.password == account.PASSWORD


def _is_our_user(user: User) -> bool:
    if user.id is not None:
        return user.id == account.USER_ID
    return user.name == account.USER_NAME and _is_our_domain(user.domain)


def _is_our_domain(domain: Domain | None) -> bool:
    return domain is not None and (domain.id == "default" or domain.name == account.DOMAIN_NAME)


def _is_secret_right(credential: ApplicationCredential) -> bool:
    if credential.secret != account.APPLICATION_CREDENTIAL_SECRET:
        return False
    if credential.id is not None:
        return credential.id == account.APPLICATION_CREDENTIAL_ID
    by_name = credential.name == account.APPLICATION_CREDENTIAL_NAME
    return by_name and credential.user is not None and _is_our_user(credential.user)


def _is_in_reach(scope: Scope | str | None) -> bool:
    if scope is None:
        return True
    if isinstance(scope, str) or scope.project is None:
        return False
    project = scope.project
    if project.id is not None:
        return project.id == account.PROJECT_ID
    return project.name == account.PROJECT_NAME and _is_our_domain(project.domain)


def _token_body(
    methods: list[str], issued_at: float, expires_at: float, services: list[dict[str, object]]
) -> dict[str, object]:
    domain = {"id": "default", "name": account.DOMAIN_NAME}
    user = {"id": account.USER_ID, "name": account.USER_NAME, "domain": domain, "password_expires_at": None}
    return {
        "methods": methods,
        "user": user,
        "audit_ids": [uuid.uuid4().hex[:22]],
        "issued_at": _keystone_time(issued_at),
        "expires_at": _keystone_time(expires_at),
        "is_domain": False,
        "project": {"id": account.PROJECT_ID, "name": account.PROJECT_NAME, "domain": domain},
        "roles": [
            {"id": stable_id("member"), "name": "member"},
            {"id": stable_id("reader"), "name": "reader"},
        ],
        "catalog": services,
    }


def _keystone_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _version(request: web.Request) -> dict[str, object]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{_base_url(request)}/identity/v3/"}],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"},
        ],
    }


def _base_url(request: web.Request) -> str:
    return str(request.url.origin())

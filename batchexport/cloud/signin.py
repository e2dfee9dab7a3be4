"""Signing in through keystoneauth, with whatever plug-in the configuration chose.

keystoneauth blocks: call from a thread. It is imported when first needed: that takes a third of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchexport.cloud.auth import Token
from batchexport.cloud.catalog import Entry
from batchexport.cloud.envelopes import fold, read_fault
from batchexport.cloud.times import epoch_s
from batchexport.errors import (
    BatchExportError,
    ConfigError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)


def sign_in(plugin: Any, http: Any, *, project: str | None) -> Token:
    """A new token from the identity service, of the project that was asked for. Blocks.

    Raises SignInError, UnreachableError or TransientError where none is given, and ConfigError where the
    credentials are for something else.
    """
    from keystoneauth1 import exceptions as refused

    auth_url = str(getattr(plugin, "auth_url", "") or "the identity service")
    try:
        plugin.invalidate()
        if not hasattr(plugin, "get_access"):
            return _given_token(plugin, http)
        access = plugin.get_access(http)
    except refused.ClientException as error:
        raise _no_token(error, auth_url) from error
    _check_project(access, project)
    return Token(
        value=access.auth_token,
        issued_at=_seconds(access.issued),
        expires_at=_seconds(access.expires),
        project_id=access.project_id,
        catalog=_entries(access),
        project_name=access.project_name,
        user_name=access.username,
        roles=tuple(access.role_names),
    )


def _given_token(plugin: Any, http: Any) -> Token:
    """The token of a plug-in that was given one (`admin_token`) and so has neither catalog nor expiry."""
    return Token(
        value=plugin.get_token(http) or "",
        issued_at=None,
        expires_at=None,
        project_id=plugin.get_project_id(http),
        catalog=(),
    )


def _check_project(access: Any, wanted: str | None) -> None:
    if not access.project_id:
        raise ConfigError(
            "signed in, but to no project: volumes belong to one",
            hint="set OS_PROJECT_NAME or OS_PROJECT_ID, or project_name in clouds.yaml",
        )
    if wanted and wanted not in (access.project_id, access.project_name):
        raise ConfigError(
            f"signed in to project {access.project_name or access.project_id}; the list asks for {wanted}",
            hint="an application credential holds for one project: each needs its own entry in clouds.yaml",
        )


def _entries(access: Any) -> tuple[Entry, ...]:
    if not access.has_service_catalog():
        return ()
    return tuple(
        Entry(
            service_type=service["type"],
            interface=endpoint.get("interface") or "public",
            region=_region_of(endpoint),
            url=endpoint.get("url") or "",
        )
        for service in access.service_catalog.normalize_catalog()
        for endpoint in service["endpoints"]
    )


def _region_of(endpoint: Mapping[str, str]) -> str | None:
    return endpoint.get("region_name") or endpoint.get("region") or endpoint.get("region_id")


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else epoch_s(moment.isoformat())


def _words(error: Exception) -> str:
    """What the identity service answered, where it did: keystoneauth shows only what is marked as JSON."""
    response = getattr(error, "response", None)
    return (read_fault(response.content).message if response is not None else "") or fold(str(error))


def _no_token(error: Exception, auth_url: str) -> BatchExportError:
    """Our error for what keystoneauth raised, in the identity service's words."""
    from keystoneauth1 import exceptions as refused

    words = _words(error)
    unreachable = isinstance(error, refused.ConnectionError) or isinstance(
        error.__context__, refused.ConnectionError
    )
    if unreachable:
        return UnreachableError(
            f"identity service {auth_url}: {words}",
            url=auth_url,
            hint="check auth_url (OS_AUTH_URL), the network, and cacert if the certificate is not trusted",
        )
    status = error.http_status if isinstance(error, refused.HttpError) else None
    request_id = error.request_id if isinstance(error, refused.HttpError) else None
    if status is not None and (status >= 500 or status == 429):
        kind = ThrottledError if status == 429 else TransientError
        return kind(
            f"identity service {auth_url}: {words}", url=auth_url, status=status, request_id=request_id
        )
    hint = (
        "check user name, password, domains and project"
        if status == 401
        else "check auth_url and the credentials"
    )
    return SignInError(
        f"no token from {auth_url}: {words}", url=auth_url, status=status, request_id=request_id, hint=hint
    )

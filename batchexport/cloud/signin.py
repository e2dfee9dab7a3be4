"""Signing in through keystoneauth, with whatever plug-in the configuration chose.

keystoneauth blocks: call from a thread. It is imported when first needed: that takes a third of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from batchexport.cloud.auth import Token
from batchexport.cloud.catalog import Entry
from batchexport.cloud.envelopes import fold, read_fault
from batchexport.cloud.identity import Identity, hidden, hidden_in
from batchexport.cloud.times import epoch_s
from batchexport.errors import (
    BatchExportError,
    ConfigError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)

T = TypeVar("T")


def sign_in(plugin: Any, http: Any, *, project: str | None, identity: Identity) -> Token:
    """A new token from the identity service, of the project that was asked for. Blocks.

    Raises SignInError, UnreachableError or TransientError where none is given, and ConfigError where the
    credentials are for something else or a part of them is missing.
    """
    from keystoneauth1 import exceptions as refused

    service = f"identity service {getattr(plugin, 'auth_url', '') or 'without a URL'}"
    try:
        return _token(plugin, http, project)
    except BatchExportError:
        raise
    except refused.ClientException as error:
        raise _no_token(error, service, identity) from _told(error, identity)
    except Exception as error:  # keystoneauth trusts answers to have the right shape, and fails in any way
        raise odd_answer(error, service, identity) from _told(error, identity)


def _token(plugin: Any, http: Any, project: str | None) -> Token:
    plugin.invalidate()
    if not hasattr(plugin, "get_access"):
        return _given_token(plugin, http)
    access = plugin.get_access(http)
    if not access.auth_token:
        raise KeyError("X-Subject-Token")
    check_project(access.project_id, access.project_name, wanted=project)
    return Token(
        value=access.auth_token,
        issued_at=_seconds(access.issued),
        expires_at=_seconds(access.expires),
        project_id=access.project_id,
        catalog=_entries(access),
        project_name=access.project_name,
        user_name=_told_by(lambda: access.username),
        roles=tuple(_told_by(lambda: access.role_names) or ()),
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


def _told_by(read: Callable[[], T]) -> T | None:
    """What a token tells beside what we need, or None where it leaves it out."""
    try:
        return read()
    except (LookupError, TypeError):
        return None


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


def _told(error: Exception, identity: Identity) -> Exception | None:
    """The error as a cause to show; None where it repeats a secret, for causes are shown in full."""
    return error if hidden(repr(error), identity.secrets) == repr(error) else None


def _words(error: Exception, identity: Identity) -> str:
    """What the identity service answered, where it did: keystoneauth shows only what is marked as JSON."""
    response = getattr(error, "response", None)
    body = b"" if response is None else hidden_in(response.content, identity.secrets)
    words = read_fault(body).message or fold(hidden(str(error), identity.secrets))
    return hidden(words, identity.secrets)


def _innermost(error: BaseException) -> BaseException:
    """The error that all the others were made of. requests keeps its causes in a field of its own."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _no_token(error: Exception, service: str, identity: Identity) -> BatchExportError:
    """Our error for what keystoneauth raised, in the identity service's words."""
    from keystoneauth1 import exceptions as refused

    no_connection = isinstance(error, refused.ConnectionError) or isinstance(
        error.__context__, refused.ConnectionError
    )
    if no_connection:
        return unreachable(error, service, identity)
    if isinstance(error, refused.HttpError):
        return refusal(error.http_status, _words(error, identity), error.request_id, service, identity)
    return SignInError(
        f"{service}: {_words(error, identity)}", hint="check auth_url (OS_AUTH_URL) and the credentials"
    )


def unreachable(error: Exception, service: str, identity: Identity) -> UnreachableError:
    """The error for a service that gave no answer."""
    cause = _innermost(error)
    # The system's own word where there is one; the libraries wrap it in their addresses and class names.
    told = (cause.strerror or "").lower() if isinstance(cause, OSError) else ""
    return UnreachableError(
        f"{service}: {told or fold(hidden(str(cause), identity.secrets)) or _words(error, identity)}",
        hint="check auth_url (OS_AUTH_URL), the network, and cacert if the certificate is not trusted",
    )


def refusal(
    status: int, words: str, request_id: str | None, service: str, identity: Identity
) -> BatchExportError:
    """The error for an answer with an HTTP status of 300 and above."""
    more: dict[str, Any] = {"status": status, "request_id": fold(request_id or "") or None}
    if status >= 500 or status == 429:
        kind = ThrottledError if status == 429 else TransientError
        return kind(
            f"{service}: {words} ({status})", **more, hint="run the same command again when it has recovered"
        )
    if status == 401:
        return SignInError(
            f"{service} refused {identity} (401): {words}",
            **more,
            hint="check user name, password, domains and project",
        )
    return SignInError(f"{service}: {words} ({status})", **more, hint="check auth_url and the credentials")


def odd_answer(error: Exception, service: str, identity: Identity) -> BatchExportError:
    """The error for what is none of the library's own: a bare `Exception`, or an answer of another shape."""
    words = fold(hidden(str(error), identity.secrets))
    if "required" in words:
        return ConfigError(
            f"{service}: {words}", hint="set it in clouds.yaml, as an OS_ variable, or with its --os- flag"
        )
    return SignInError(
        f"{service}: its answer is not that of an identity service ({type(error).__name__}: {words})",
        hint="check auth_url (OS_AUTH_URL): it usually ends in /v3",
    )

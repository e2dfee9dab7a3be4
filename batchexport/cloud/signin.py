"""Signing in through keystoneauth, with whatever plug-in the configuration chose.

keystoneauth blocks: call from a thread. It is imported when first needed: that takes a third of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeVar

from batchexport.cloud.auth import Token
from batchexport.cloud.catalog import Entry
from batchexport.cloud.envelopes import fold, read_fault
from batchexport.cloud.identity import Identity, hidden, hidden_in
from batchexport.cloud.times import epoch_s, retry_after_s
from batchexport.cloud.transport import Trust
from batchexport.errors import (
    BatchExportError,
    ConfigError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from batchexport.proxies import proxy_for

T = TypeVar("T")


SET_IT = "set it in clouds.yaml, as an OS_ variable, or with its --os- flag"
_ENDS_IN_V3 = "check auth_url (OS_AUTH_URL): it usually ends in /v3"
_CHECK = "check auth_url (OS_AUTH_URL) and the credentials"


def sign_in(plugin: Any, trust: Trust, *, project: str | None, identity: Identity, silence_s: float) -> Token:
    """A new token from the identity service, of the project that was asked for. Blocks.

    Raises SignInError, UnreachableError or TransientError where none is given, and ConfigError where the
    credentials are for something else or a part of them is missing.
    """
    from keystoneauth1 import exceptions as refused
    from keystoneauth1 import session

    from batchexport.cloud.requests_http import SignInSession

    service = named_service(getattr(plugin, "auth_url", "") or "")
    with SignInSession(trust) as requests:
        # No retries of its own: it would do them unseen, and a wrong password must not be tried twice.
        http = session.Session(
            session=requests,
            verify=trust.verify and (trust.authorities or True),
            timeout=silence_s,
            redirect=False,
            connect_retries=0,
        )
        try:
            return _token(plugin, http, project)
        except BatchExportError:
            raise
        except refused.ClientException as error:
            raise _no_token(error, service, identity, requests.last) from _told(error, identity)
        except (
            Exception
        ) as error:  # keystoneauth trusts answers to have the right shape, and fails in any way
            answer = requests.last
            if answer is not None and answer.status_code > 300:
                raise _no_token(error, service, identity, answer) from _told(error, identity)
            raise odd_answer(error, service, identity) from _told(error, identity)


def named_service(auth_url: str) -> str:
    """The identity service as messages name it, with the proxy that leads to it."""
    proxy = proxy_for(auth_url) if auth_url else None
    through = f" through the {proxy}" if proxy is not None else ""
    return f"identity service {auth_url or 'without a URL'}{through}"


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
            service_name=service.get("name"),
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


def _innermost(error: BaseException) -> BaseException:
    """The error that all the others were made of. requests keeps its causes in a field of its own."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _no_token(error: Exception, service: str, identity: Identity, answer: Any) -> BatchExportError:
    """Our error for what keystoneauth raised, in the identity service's words.

    `answer` is the latest one, None = there was none: of some that are no token keystoneauth tells nothing.
    """
    from keystoneauth1 import exceptions as refused

    no_connection = isinstance(error, refused.ConnectionError) or isinstance(
        error.__context__, refused.ConnectionError
    )
    if no_connection:
        return unreachable(error, service, identity)
    answer = answer if getattr(error, "response", None) is None else error.response  # type: ignore[attr-defined]
    if answer is not None and answer.status_code > 300:
        if answer.request.method == "GET" and answer.status_code in (400, 401, 403, 404, 405, 410):
            # Asked for its versions, before anything was said of us.
            words = f"auth_url leads to no identity service of version 3 or 2 ({answer.status_code})"
            return SignInError(f"{service}: {words}", status=answer.status_code, hint=_ENDS_IN_V3)
        return refusal(answer.status_code, answer.headers, answer.content, service, identity)
    if isinstance(error, refused.MissingRequiredOptions):
        names = ", ".join(option.dest for option in error.options)
        return ConfigError(f"{service}: missing for this way of signing in: {names}", hint=SET_IT)
    return SignInError(f"{service}: {_library_words(error, identity)}", hint=_CHECK)


def _library_words(error: Exception, identity: Identity) -> str:
    """What keystoneauth says, but for words that only its own developers understand."""
    words = fold(hidden(str(error), identity.secrets))
    if "plugin is required" in words or "versioned identity endpoints" in words:
        return "auth_url leads to no identity service of version 3 or 2"
    return words


def unreachable(error: Exception, service: str, identity: Identity) -> UnreachableError:
    """The error for a service that gave no answer."""
    cause = _innermost(error)
    # The system's own word where there is one; the libraries wrap it in their addresses and class names.
    told = (cause.strerror or "").lower() if isinstance(cause, OSError) else ""
    words = told or fold(hidden(str(cause), identity.secrets)) or fold(hidden(str(error), identity.secrets))
    return UnreachableError(
        f"{service}: {words}",
        hint="check auth_url (OS_AUTH_URL), the network, and cacert if the certificate is not trusted",
    )


def refusal(status: int, headers: Any, body: bytes, service: str, identity: Identity) -> BatchExportError:
    """The error for an answer with an HTTP status above 300."""
    request_id = fold(headers.get("x-openstack-request-id") or "")
    more: dict[str, Any] = {"status": status, "request_id": request_id or None}
    if status < 400:
        place = fold(headers.get("Location") or "nowhere")
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


def _words(status: int, body: bytes, identity: Identity) -> str:
    """What the identity service answered: keystoneauth shows only what is marked as JSON."""
    words = read_fault(hidden_in(body, identity.secrets)).message
    known = status in HTTPStatus.__members__.values()
    return hidden(words, identity.secrets) or (HTTPStatus(status).phrase if known else "no reason given")


def _what_was_refused(identity: Identity) -> str:
    if identity.user is None:
        return "the token or key is wrong, has expired, or is not for this project: get a new one"
    return "check user name, password, domains and project"


def odd_answer(error: Exception, service: str, identity: Identity) -> BatchExportError:
    """The error for what is none of the library's own: a bare `Exception`, or an answer of another shape."""
    words = fold(hidden(str(error), identity.secrets))
    if "required" in words:
        return ConfigError(f"{service}: {words}", hint=SET_IT)
    return SignInError(
        f"{service}: its answer is not that of an identity service ({type(error).__name__}: {words})",
        hint=_ENDS_IN_V3,
    )

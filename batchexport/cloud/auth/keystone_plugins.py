"""Signing in through keystoneauth, with whatever plug-in the configuration chose.

keystoneauth blocks: call from a thread. It uses the requests library, which is held here to the rules of all
our requests: nothing is taken from netrc, proxies and certificates are the same, answers have a largest size,
and no redirect is followed, for a password was meant for one address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import requests
import requests.adapters
import urllib3
from keystoneauth1 import exceptions as refused
from keystoneauth1 import session

from batchexport.cloud.auth.keystone import (
    ENDS_IN_V3,
    MAX_TOKEN_RESPONSE_BYTES,
    SET_IT,
    Principal,
    check_project,
    describe_service,
    refusal,
    unexpected_response,
    unreachable,
)
from batchexport.cloud.auth.tokens import Token
from batchexport.cloud.catalog import CatalogEntry
from batchexport.cloud.http.responses import epoch_s
from batchexport.cloud.http.transport import TlsConfig
from batchexport.errors import (
    AuthenticationError,
    BatchExportError,
    ConfigError,
)
from batchexport.proxies import proxy_for
from batchexport.redaction import hide_secrets, sanitize

T = TypeVar("T")


_CHECK = "check auth_url (OS_AUTH_URL) and the credentials"


def sign_in_by_plugin(
    plugin: Any, tls: TlsConfig, *, project: str | None, identity: Principal, silence_s: float
) -> Token:
    """A new token from the identity service, for the requested project. Blocks.

    Raises AuthenticationError, UnreachableError or TransientError if there is no token, and ConfigError if
    the credentials are incomplete or for something else.
    """
    service = describe_service(getattr(plugin, "auth_url", "") or "")
    with SignInSession(tls) as requests:
        # No retries by keystoneauth: they would not be logged, and a wrong password must not be tried twice.
        http = session.Session(
            session=requests,
            verify=tls.verify and (tls.authorities or True),
            timeout=silence_s,
            redirect=False,
            connect_retries=0,
        )
        try:
            return _token(plugin, http, project)
        except BatchExportError:
            raise
        except refused.ClientException as error:
            raise _no_token(error, service, identity, requests.last) from _cause(error, identity)
        except Exception as error:  # keystoneauth does not check the form of responses
            answer = requests.last
            if answer is not None and answer.status_code > 300:
                raise _no_token(error, service, identity, answer) from _cause(error, identity)
            raise unexpected_response(error, service, identity) from _cause(error, identity)


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
        user_name=_optional(lambda: access.username),
        roles=tuple(_optional(lambda: access.role_names) or ()),
    )


def _given_token(plugin: Any, http: Any) -> Token:
    """The token of a plug-in that is given one (`admin_token`), without catalog and expiry."""
    return Token(
        value=plugin.get_token(http) or "",
        issued_at=None,
        expires_at=None,
        project_id=plugin.get_project_id(http),
        catalog=(),
    )


def _optional(read: Callable[[], T]) -> T | None:
    """An optional detail of a token, or None if it is missing."""
    try:
        return read()
    except (LookupError, TypeError):
        return None


def _entries(access: Any) -> tuple[CatalogEntry, ...]:
    if not access.has_service_catalog():
        return ()
    return tuple(
        CatalogEntry(
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


def _cause(error: Exception, identity: Principal) -> Exception | None:
    """The error as a cause; None if it repeats a secret, for causes are shown in full."""
    return error if hide_secrets(repr(error), identity.secrets) == repr(error) else None


def _no_token(error: Exception, service: str, identity: Principal, answer: Any) -> BatchExportError:
    """Our error for what keystoneauth raised, with the message of the identity service.

    `answer` is the latest response, None = there was none: keystoneauth does not pass all of them on.
    """
    no_connection = isinstance(error, refused.ConnectionError) or isinstance(
        error.__context__, refused.ConnectionError
    )
    if no_connection:
        return unreachable(error, service, identity)
    own_answer = getattr(error, "response", None)
    answer = answer if own_answer is None else own_answer
    if answer is not None and answer.status_code > 300:
        if answer.request.method == "GET" and answer.status_code in (400, 401, 403, 404, 405, 410):
            # The request for its versions, which comes before signing in.
            words = f"auth_url leads to no identity service of version 3 or 2 ({answer.status_code})"
            return AuthenticationError(f"{service}: {words}", status=answer.status_code, hint=ENDS_IN_V3)
        return refusal(answer.status_code, answer.headers, answer.content, service, identity)
    if isinstance(error, refused.MissingRequiredOptions):
        names = ", ".join(option.dest for option in error.options)
        return ConfigError(f"{service}: missing for this auth_type: {names}", hint=SET_IT)
    return AuthenticationError(f"{service}: {_library_words(error, identity)}", hint=_CHECK)


def _library_words(error: Exception, identity: Principal) -> str:
    """The message of keystoneauth, replaced where only its developers understand it."""
    words = sanitize(hide_secrets(str(error), identity.secrets))
    if "plugin is required" in words or "versioned identity endpoints" in words:
        return "auth_url leads to no identity service of version 3 or 2"
    return words


_PIECE = 64 * 1024


class ResponseTooLargeError(Exception):
    """A response of the identity service that is too large for a token."""


class SignInSession(requests.Session):
    """A session for one sign-in. `last` is its latest response, which libraries describe misleadingly."""

    def __init__(self, tls: TlsConfig) -> None:
        super().__init__()
        self.trust_env = False
        self.last: requests.Response | None = None
        self._tls = tls
        self.mount("http://", _Adapter(self, None))
        del self.adapters["https://"]  # created when first needed: reading certificates takes time
        if not tls.verify:  # we log it ourselves, once
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def get_adapter(self, url: str) -> requests.adapters.BaseAdapter:
        """The adapter for this URL."""
        if url.lower().startswith("https://") and "https://" not in self.adapters:
            self.mount("https://", _Adapter(self, self._tls.context()))
        return super().get_adapter(url)


class _Adapter(requests.adapters.HTTPAdapter):
    """Uses the same proxy as every other request, and limits the size of responses."""

    def __init__(self, session: SignInSession, context: Any) -> None:
        self._session = session
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """With our own TLS settings, besides the CA certificates of requests."""
        super().init_poolmanager(*args, **(options | self._with_context()))

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """The same through a proxy."""
        return super().proxy_manager_for(proxy, **(options | self._with_context()))

    def _with_context(self) -> dict[str, Any]:
        return {} if self._context is None else {"ssl_context": self._context}

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """The complete response. Raises ResponseTooLargeError if it is too large for a token."""
        proxy = proxy_for(request.url or "")
        named = {} if proxy is None else dict.fromkeys(("http", "https"), proxy.url_with_password)
        answer = super().send(request, *args, **(options | {"stream": True, "proxies": named}))
        self._session.last = answer
        pieces = bytearray()
        for piece in answer.iter_content(_PIECE):
            pieces += piece
            if len(pieces) > MAX_TOKEN_RESPONSE_BYTES:
                answer.close()
                raise ResponseTooLargeError(f"more than {MAX_TOKEN_RESPONSE_BYTES // 2**20} MiB")
        answer._content = bytes(pieces)
        return answer

"""The aiohttp session: TLS, headers, timeouts, connections, and the fence before the first byte."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import TracebackType

import aiohttp
import msgspec
from aiohttp.connector import Connection

from batchexport.errors import ConfigError
from batchexport.version import __version__

#: A service that is up accepts a connection within a second or two, even through a slow proxy.
CONNECT_TIMEOUT_S = 10.0
#: For a whole request. Gateways give up after 60 s: no response comes later.
REQUEST_TIMEOUT_S = 60.0
#: For one header. Some corporate gateways add more than aiohttp's 8 KiB; this is what the standard library,
#: and so the `openstack` client, accepts.
MAX_HEADER_BYTES = 65_536
#: Common servers close an idle connection after 5 s. A request on one that is being closed would leave a POST
#: in doubt.
KEEPALIVE_S = 4.0


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which certificates are accepted, and which one is presented."""

    verify: bool = True
    authorities: str | None = None  #: file or folder of CA certificates; None = the system's
    certificate: str | None = None
    private_key: str | None = None  #: None = in the same file as the certificate

    @classmethod
    def of(cls, verify: bool | str | None, certificate: str | Sequence[str] | None) -> TlsConfig:
        """From the values `verify` and `cert` as the requests library takes them."""
        # That library, used for signing in, also reads these two variables; both stacks must decide alike.
        named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        own, private_key = (
            (certificate, None) if isinstance(certificate, str) else (certificate or (None, None))
        )
        return cls(
            verify=verify is not False,
            authorities=verify if isinstance(verify, str) else named,
            certificate=own,
            private_key=private_key,
        )

    def context(self) -> ssl.SSLContext:
        """The settings as an SSL context. Raises ConfigError if a file cannot be used."""
        try:
            return self._context()
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (self.authorities, self.certificate, self.private_key)))
            raise ConfigError(
                f"certificates ({files}): {error}", hint="check cacert, cert and key in clouds.yaml"
            ) from error

    def _context(self) -> ssl.SSLContext:
        folder = self.authorities is not None and Path(self.authorities).is_dir()
        context = ssl.create_default_context(
            cafile=None if folder else self.authorities, capath=self.authorities if folder else None
        )
        if self.authorities is None and _has_no_authorities():
            context.load_verify_locations(cafile=_bundled_authorities())
        if self.certificate:
            context.load_cert_chain(self.certificate, self.private_key)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


#: Called right before the first byte of a request; raises to forbid it.
Fence = Callable[[], None]
#: The fence of this task's next request.
FENCE: ContextVar[Fence | None] = ContextVar("FENCE", default=None)


class FencedRequest(aiohttp.ClientRequest):
    """A request that checks, once it has a connection, whether it may still be sent.

    Checked any earlier, a process that is frozen while it connects would send after all.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it, unless the fence raises."""
        if (fence := FENCE.get()) is not None:
            fence()
        return await super().send(conn)


def open_http(tls: TlsConfig, *, connections: int) -> aiohttp.ClientSession:
    """A session for all services of one target; the caller closes it. Needs a running loop."""
    # aiohttp has a default context ready; another costs 30 ms.
    context = True if tls == TlsConfig() and not _has_no_authorities() else tls.context()
    return aiohttp.ClientSession(
        request_class=FencedRequest,
        connector=aiohttp.TCPConnector(limit=connections, ssl=context, keepalive_timeout=KEEPALIVE_S),
        # The time of a whole request is limited by the session: see `SharedTimeout`.
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )


@cache
def _has_no_authorities() -> bool:
    """Whether this system has no CA certificates, like small containers."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile is None and not (paths.capath and any(Path(paths.capath).iterdir()))


def _bundled_authorities() -> str:
    """The CA certificates of the requests library, which the `openstack` client trusts."""
    import certifi

    return str(certifi.where())


class SharedTimeout:
    """Ends what takes longer than `limit_s` seconds. Enter a `limit()` around each request.

    One timer serves all: a timer for each, as aiohttp sets them, costs a sixth of what a request costs.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._running: dict[_Limit, float] = {}  # loop time at which each is overdue; in that order
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> _Limit:
        """A context that raises TimeoutError when it lasts too long."""
        return _Limit(self)

    def start(self, limit: _Limit) -> None:
        """Start counting the time of this context."""
        loop = asyncio.get_running_loop()
        overdue_at = self._running[limit] = loop.time() + self._limit_s
        if self._timer is None:
            self._timer = loop.call_at(overdue_at, self._check)

    def stop(self, limit: _Limit) -> None:
        """Stop counting the time of this context."""
        self._running.pop(limit, None)

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for limit, overdue_at in list(self._running.items()):
            if overdue_at > loop.time():
                self._timer = loop.call_at(overdue_at, self._check)
                return
            del self._running[limit]
            limit.expire()


class _Limit:
    """The limit of one request. Behaves as `asyncio.timeout`, but has no timer of its own."""

    __slots__ = ("_cancelling", "_has_expired", "_task", "_timeout")

    def __init__(self, timeout: SharedTimeout) -> None:
        self._timeout = timeout
        self._has_expired = False

    def expire(self) -> None:
        self._has_expired = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timeout.start(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeout.stop(self)
        if not self._has_expired:
            return
        # If someone else cancelled the task as well, it stays cancelled.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


def service_headers(microversion: str | None) -> dict[str, str]:
    """The headers of every request to a service, apart from those that authenticate it."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # unpacking costs more than the network saves
        "User-Agent": f"batchexport/{__version__}",
    }
    if microversion is not None:
        headers["OpenStack-API-Version"] = f"volume {microversion}"
    return headers

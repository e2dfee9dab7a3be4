"""The aiohttp session: TLS, timeouts and connections."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import aiohttp
import msgspec
from aiohttp.connector import Connection

from batchexport.errors import ConfigError

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


#: Called right before the first byte of this task's next request; raises to forbid it.
FENCE: ContextVar[Callable[[], None] | None] = ContextVar("FENCE", default=None)


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
        # The time of a whole request is limited by the session: see `shared_timeout`.
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

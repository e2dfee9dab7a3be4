"""One request after another at the allowed rate, with a valid token, and each failure as an error of ours."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from batchexport.clock import boottime_s
from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http import transport
from batchexport.cloud.http.authenticator import JSON, Authenticator, Credential
from batchexport.cloud.http.error_mapping import error_from_no_response, error_from_response
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.cloud.http.responses import (
    Decoder,
    Response,
    decode,
    http_date_s,
    is_error,
    read_body,
    request_id_of,
)
from batchexport.cloud.http.transport import FENCE, Fence, SharedTimeout
from batchexport.errors import AuthenticationError, CloudError, ThrottledError, TransientError
from batchexport.proxies import proxy_for
from batchexport.redaction import redacted
from batchexport.retry import READS

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Retries of a read: with the waits between them they outlast a restart of the service, some 10 s.
READ_RETRIES = 4
#: Retries of a read whose fresh token was refused as well: an API node may lag behind, or its clock be off.
SIGN_IN_RETRIES = 1
#: What `stream` reads ahead: the reader of a connection holds twice as much before it waits.
STREAM_BUFFER_BYTES = 1024 * 1024
NO_HEADERS: Mapping[str, str] = {}
#: Stands in the place of a status where there was no response.
NO_RESPONSE = 0

#: Raised by aiohttp before anything of the request was sent.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class Traffic(msgspec.Struct):
    """Counts of one target's requests; requests that sign in are not counted."""

    by_status: Counter[int] = msgspec.field(default_factory=Counter)
    throttled: int = 0


class HttpSession:
    """Sends the requests to all services of one target. Each attempt passes the rate limiter."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        authenticator: Authenticator,
        limiter: RateLimiter,
        *,
        concurrency: int,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = boottime_s,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.traffic = Traffic()
        self._http = http
        self._authenticator = authenticator
        self._limiter = limiter
        # Acquired before the limiter: after it, a request that waits for a connection would miss its slot.
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = SharedTimeout(transport.REQUEST_TIMEOUT_S)
        self._now = now
        self._sleep = sleep
        self._draw = draw
        self._steady = steady
        self._server_zero = now() - steady()  # until the cloud tells its time, its clock is ours
        self._last_date: str | None = None
        # Cached for each address: finding the proxy takes longer than the rest of a request.
        self.proxy_for = cache(proxy_for)

    @property
    def requests_per_second(self) -> float:
        """The rate that the limiter allows now; 0 = not limited."""
        return self._limiter.rate

    def server_now_s(self) -> float:
        """Now, by the cloud's clock: never ahead of it, and behind it by a second or so at most."""
        return self._server_zero + self._steady()

    @property
    def clock_off_s(self) -> float:
        """Seconds by which the cloud's clock is ahead of this machine's."""
        return self.server_now_s() - self._now()

    def learn_clock(self, server_now_s: float | None) -> None:
        """Set the cloud's clock, in seconds since the epoch; None = it was not told."""
        if server_now_s is not None:
            self._server_zero = server_now_s - self._steady()

    async def read(
        self,
        endpoint: Endpoint,
        path: str,
        decoder: Decoder[T],
        *,
        microversion: str | None = None,
        retries: int = READ_RETRIES,
        within_s: float = math.inf,
    ) -> T:
        """The decoded response to a GET, retried after transient failures. Raises CloudError.

        No retry begins later than `within_s` after the first attempt: each may take as long as a gateway
        waits. If a service refuses a fresh token, the read is retried once: a single node of it may be wrong.
        If the identity service refuses, nothing is retried.
        """
        failures = refusals = 0
        began_s = self._steady()
        while True:
            try:
                return decode(await self.request("GET", endpoint, path, microversion=microversion), decoder)
            except TransientError:
                failures += 1
                if failures > retries or self._steady() - began_s >= within_s:
                    raise
            except AuthenticationError as error:
                refusals += 1
                if refusals > SIGN_IN_RETRIES or error.url != endpoint.url + path:
                    raise
            await self._sleep(READS.delay_s(failures + refusals, self._draw()))

    async def request(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        *,
        body: bytes | None = None,
        fence: Fence | None = None,
        microversion: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Response:
        """The response to one request, sent again only if its token was refused. Raises CloudError.

        `fence` is called right before each sending; what it raises is raised here. `headers` go over the
        usual ones; of them only Content-Type is signed.
        """
        credential = await self._authenticator.valid()
        try:
            return await self._attempt(method, endpoint, path, body, fence, credential, microversion, headers)
        except AuthenticationError as error:
            fresh = await self._authenticator.after_refusal(credential, error, clock_off_s=self.clock_off_s)
        return await self._attempt(method, endpoint, path, body, fence, fresh, microversion, headers)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        body: AsyncIterable[bytes] | None = None,
        fence: Fence | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to one request that is not an error, its body still to be read: for large data.

        Has no time limit of its own, and takes no place of those of `concurrency`: it may last for hours.
        Sent again if its token was refused, except with a body, which is used up by then: TransientError.
        """
        credential = await self._authenticator.valid()
        try:
            response = await self._open(method, endpoint, path, headers, body, fence, credential)
        except AuthenticationError as error:
            fresh = await self._authenticator.after_refusal(credential, error, clock_off_s=self.clock_off_s)
            if body is not None:
                raise TransientError(
                    "the token was refused; the data is sent again with a new one",
                    method=method,
                    url=endpoint.url + path,
                    status=error.status,
                ) from error
            response = await self._open(method, endpoint, path, headers, body, fence, fresh)
        # What the caller raises meanwhile is not an error of this service.
        try:
            yield response
        finally:
            response.release()  # closes the connection, where data is left on it

    async def _open(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        headers: Mapping[str, str],
        body: AsyncIterable[bytes] | None,
        fence: Fence | None,
        credential: Credential,
    ) -> aiohttp.ClientResponse:
        url, proxy = endpoint.url + path, self.proxy_for(endpoint.url)
        sent_at = await self._limiter.acquire()
        FENCE.set(fence)
        began_s = self._steady()
        content_type = headers.get("Content-Type", JSON)
        sent_headers = {**credential.headers(method, url, None, None, content_type), **headers}
        if proxy is not None and proxy.headers and url.startswith("http://"):
            sent_headers |= proxy.headers
        try:
            response = await self._http.request(
                method,
                URL(url, encoded=True),
                data=body,
                headers=sent_headers,
                allow_redirects=False,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=None if proxy is None else proxy.headers,
                read_bufsize=STREAM_BUFFER_BYTES,
            )
            self._log(method, url, began_s, response)
            failed = response.status >= 300
            received = await read_body(response) if failed else b""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.traffic.by_status[NO_RESPONSE] += 1
            sent = not isinstance(error, _NOT_SENT)
            via = None if proxy is None else str(proxy)
            raise error_from_no_response(method=method, url=url, cause=error, sent=sent, via=via) from error
        try:
            self._response_or_error(method, url, response, received, credential, sent_at)
        except CloudError:
            response.close()
            raise
        return response

    async def _attempt(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        body: bytes | None,
        fence: Fence | None,
        credential: Credential,
        microversion: str | None,
        extra: Mapping[str, str],
    ) -> Response:
        url = endpoint.url + path
        proxy = self.proxy_for(endpoint.url)
        async with self._slots:
            sent_at = await self._limiter.acquire()
            FENCE.set(fence)
            began_s = self._steady()
            headers = credential.headers(method, url, body, microversion, extra.get("Content-Type", JSON))
            if proxy is not None and proxy.headers and url.startswith("http://"):  # no tunnel: sent along
                headers = {**headers, **proxy.headers}
            if extra:
                headers = {**headers, **extra}
            try:
                with self._timeout.limit():
                    async with self._http.request(
                        method,
                        URL(url, encoded=True),
                        data=body,
                        headers=headers,
                        allow_redirects=False,
                        proxy=None if proxy is None else proxy.url,
                        proxy_headers=None if proxy is None else proxy.headers,
                    ) as response:
                        received = await read_body(response)
                        self._log(method, url, began_s, response)
                        return self._response_or_error(method, url, response, received, credential, sent_at)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.traffic.by_status[NO_RESPONSE] += 1
                self._log(method, url, began_s, None)
                sent = not isinstance(error, _NOT_SENT)
                via = None if proxy is None else str(proxy)
                raise error_from_no_response(
                    method=method, url=url, cause=error, sent=sent, via=via
                ) from error

    def _log(self, method: str, url: str, began_s: float, response: aiohttp.ClientResponse | None) -> None:
        """Log the request at debug level; `response` is None where there was none."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        took_ms = 1000 * (self._steady() - began_s)
        url = redacted(url)
        extra: dict[str, Any] = {"action": "http_request", "method": method, "url": url, "took_ms": took_ms}
        if response is None:
            log.debug("%s %s: no response in %.0f ms", method, url, took_ms, extra=extra)
            return
        status, request_id = response.status, request_id_of(response.headers)
        extra |= {"status": status, "request_id": request_id}
        known_as = f"request {request_id}" if request_id else "no request id"
        log.debug("%s %s: %d in %.0f ms, %s", method, url, status, took_ms, known_as, extra=extra)

    def _response_or_error(
        self,
        method: str,
        url: str,
        response: aiohttp.ClientResponse,
        body: bytes,
        credential: Credential,
        sent_at: float,
    ) -> Response:
        """The response, or the error it stands for; the clock and the limiter learn from both."""
        headers = response.headers
        status = response.status
        self.traffic.by_status[status] += 1
        self._learn_clock_from(headers.get("Date"))
        if is_error(status, body):
            error = error_from_response(
                method=method,
                url=url,
                status=status,
                headers=headers,
                body=body,
                now_s=self.server_now_s(),
                secrets=credential.secrets,
            )
            self._learn_rate_from(error, sent_at)
            raise error
        self._limiter.succeeded()
        credential.accepted()
        return Response(method, url, status, body, request_id_of(headers))

    def _learn_clock_from(self, date: str | None) -> None:
        if date != self._last_date:
            self._last_date = date
            self.learn_clock(http_date_s(date))

    def _learn_rate_from(self, error: CloudError, sent_at: float) -> None:
        if isinstance(error, ThrottledError):
            self._limiter.throttled(sent_at)
            self.traffic.throttled += 1
        else:
            self._limiter.succeeded()
        if error.retry_after_s and isinstance(error, TransientError):
            self._limiter.pause(error.retry_after_s)

"""The token of one account: shared by all its requests, renewed in time, by one sign-in at a time."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from batchexport.cloud.catalog import CatalogEntry
from batchexport.cloud.http.authenticator import JSON, Credential
from batchexport.cloud.http.transport import service_headers
from batchexport.errors import AuthenticationError, BatchExportError, ThrottledError, UnreachableError
from batchexport.redaction import register_secret

log = logging.getLogger(__name__)
T = TypeVar("T")

#: A token is renewed when half of its lifetime is over. The cloud uses the token of an export until the copy
#: ends, perhaps for hours: so each export starts with a token that is valid for half its lifetime or more.
RENEW_SHARE = 0.5
#: Between two attempts to renew a token that is still valid.
RENEW_RETRY_S = 30.0
#: How long the request that starts a renewal waits for it; all others go on with the old token.
RENEW_WAIT_S = 1.0
#: For one whole sign-in. keystoneauth and urllib only limit the time between two bytes.
SIGN_IN_TIMEOUT_S = 30.0
#: Where an identity service throttles without saying for how long.
_PAUSE_S = 1.0
#: At most so many threads may hang in a service that does not finish its response.
_MAX_ABANDONED = 8

_abandoned: set[threading.Thread] = set()


class SignInPace(Protocol):
    """When to send a request to an identity service that others use, too."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn; it lasts as long as the context."""
        ...

    def pause(self, seconds: float) -> None:
        """Hold back all sign-ins for so long."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token of one project. Times are by the cloud's clock; None = not told, or never."""

    value: str = field(repr=False)
    issued_at: float | None
    expires_at: float | None
    project_id: str | None
    catalog: tuple[CatalogEntry, ...] = field(repr=False)
    project_name: str | None = None
    user_name: str | None = None
    roles: tuple[str, ...] = ()  #: empty = not told
    _headers: dict[str | None, dict[str, str]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token itself."""
        return (self.value,)

    def accepted(self) -> None:
        """Nothing to note: a refused token is renewed."""

    def headers(
        self,
        method: str,
        url: str,
        body: bytes | None,
        microversion: str | None,
        content_type: str = JSON,
    ) -> Mapping[str, str]:
        """The headers with the token: the same object each time."""
        headers = self._headers.get(microversion)
        if headers is None:
            headers = service_headers(microversion) | {"X-Auth-Token": self.value}
            self._headers[microversion] = headers
        return headers


class TokenSource:
    """Holds a token and renews it by calling `sign_in` in a thread: that blocks, and may take seconds.

    A sign-in that takes longer than `limit_s` seconds is abandoned.
    """

    def __init__(
        self,
        sign_in: Callable[[], Token],
        *,
        now: Callable[[], float] = time.time,
        pace: SignInPace | None = None,
        service: str = "",
        limit_s: float = SIGN_IN_TIMEOUT_S,
    ) -> None:
        self._sign_in = sign_in
        self._now = now
        self._pace = pace
        self._service = service
        self._limit_s = limit_s
        self._renewal: asyncio.Task[None] | None = None
        self._token: Token | None = None
        self._renew_at = self._expires_at = 0.0  # by our own clock
        self._turn = asyncio.Lock()
        self._sign_ins = 0
        self._failure: BatchExportError | None = None

    async def valid(self) -> Token:
        """A token that is valid for a while; returned at once unless a new one is due.

        Raises AuthenticationError, UnreachableError or ConfigError if there is none.
        """
        token = self._token
        if token is None or self._now() >= self._expires_at:
            return await self.renew(token)
        if self._now() >= self._renew_at and self._renewal is None:
            # In the background: a slow or unreachable service must not hold up requests with a valid token.
            self._renewal = asyncio.create_task(self._renew_in_background(token))
            await asyncio.wait({self._renewal}, timeout=RENEW_WAIT_S)
        return self._token or token

    async def _renew_in_background(self, token: Token) -> None:
        try:
            await self.renew(token)
        except BatchExportError as error:
            # A passcode works only once, and each attempt with a wrong password counts.
            refused = isinstance(error, AuthenticationError)
            self._renew_at = self._expires_at if refused else self._now() + RENEW_RETRY_S
            extra = {"action": "token_renewal_failed"}
            log.warning("token not renewed, the old one is still valid: %s", error, extra=extra)
        finally:
            self._renewal = None

    async def after_refusal(
        self, refused: Credential, error: AuthenticationError, *, clock_off_s: float
    ) -> Token:
        """Another token than the refused one."""
        return await self.renew(refused)

    async def renew(self, refused: Credential | None) -> Token:
        """Another token than `refused`. Concurrent callers share one sign-in, and its failure."""
        sign_ins = self._sign_ins
        async with self._turn:
            if self._token is not None and self._token is not refused:
                return self._token
            if sign_ins != self._sign_ins and self._failure is not None:
                raise self._failure
            return await self._sign_in_once()

    async def _sign_in_once(self) -> Token:
        try:
            token = await self._paced_sign_in()
        except BatchExportError as error:
            # Otherwise each waiter would try a wrong password again, until the account is locked.
            self._failure = error
            self._sign_ins += 1
            raise
        self._failure = None
        self._sign_ins += 1
        self._keep(token)
        return token

    async def _paced_sign_in(self) -> Token:
        if self._pace is None:
            return await self._bounded_sign_in()
        async with self._pace.turn():
            try:
                return await self._bounded_sign_in()
            except ThrottledError as error:
                self._pace.pause(error.retry_after_s or _PAUSE_S)
                raise

    async def _bounded_sign_in(self) -> Token:
        try:
            return await run_in_thread(self._sign_in, limit_s=self._limit_s)
        except TimeoutError as error:
            raise UnreachableError(
                f"identity service {self._service}: no complete response in {self._limit_s:.0f} s",
                hint="check auth_url (OS_AUTH_URL) and the network; the service may need a restart",
            ) from error

    def _keep(self, token: Token) -> None:
        now = self._now()
        register_secret(token.value)
        self._token = token
        if token.expires_at is None:
            self._renew_at = self._expires_at = float("inf")
            return
        # The lifetime is by the cloud's clock; ours, which may be wrong, only counts it down.
        life_s = max(0.0, token.expires_at - (now if token.issued_at is None else token.issued_at))
        self._expires_at = now + life_s
        self._renew_at = self._expires_at - RENEW_SHARE * life_s


async def run_in_thread(call: Callable[[], T], *, limit_s: float | None) -> T:
    """What `call` returns or raises; TimeoutError after `limit_s` seconds, None = no limit.

    A call that takes too long, or whose waiter is cancelled, goes on in its thread and is abandoned.
    """
    _abandoned.intersection_update({thread for thread in _abandoned if thread.is_alive()})
    if limit_s is not None and len(_abandoned) >= _MAX_ABANDONED:
        raise TimeoutError
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(result)  # type: ignore[arg-type] # None only where T allows it

    def work() -> None:
        result, failure = None, None
        try:
            result = context.run(call)
        except BaseException as error:  # re-raised in the waiter
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop is closed: no waiter is left
            return

    # Daemon threads do not keep the process alive, as those of asyncio's own executor would.
    thread = threading.Thread(target=work, name="sign-in", daemon=True)
    thread.start()
    try:
        async with asyncio.timeout(limit_s):
            return await ended
    finally:
        if not ended.done() or ended.cancelled():
            _abandoned.add(thread)

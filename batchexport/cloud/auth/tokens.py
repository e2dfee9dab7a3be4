"""The token of one client: shared by all its requests, renewed in time, and by one sign-in at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from batchexport.cloud.auth.threads import run_in_thread
from batchexport.cloud.catalog import CatalogEntry
from batchexport.cloud.http.authenticator import Credential, service_headers
from batchexport.errors import BatchExportError, SignInError, ThrottledError, UnreachableError
from batchexport.redaction import register_secret

log = logging.getLogger(__name__)

#: A token is renewed when half of its life is over. The cloud goes on using the one that came with an export
#: while it copies, for hours perhaps: so each export starts with one that has half its life before it.
RENEW_SHARE = 0.5
#: Between two tries to renew a token that is still good.
RENEW_RETRY_S = 30.0
#: How long the request that finds a token half over waits for another; all others go on with the old one.
RENEW_WAIT_S = 1.0
#: For one sign-in from end to end. keystoneauth and urllib only know the time between two bytes.
SIGN_IN_TIMEOUT_S = 30.0
#: Where an identity service that is asked too often does not say for how long.
_PAUSE_S = 1.0


class SignInPace(Protocol):
    """When to go to an identity service that others go to as well."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn; it lasts as long as the context."""
        ...

    def pause(self, seconds: float) -> None:
        """Let nobody sign in for so long."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token of one project. Times are by the cloud's clock; None = it does not say, or never."""

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
        """Nothing to note: a token that is refused is renewed."""

    def headers(
        self, method: str, url: str, body: bytes | None, microversion: str | None
    ) -> Mapping[str, str]:
        """The token and what else every request says: the same object each time."""
        headers = self._headers.get(microversion)
        if headers is None:
            headers = service_headers(microversion) | {"X-Auth-Token": self.value}
            self._headers[microversion] = headers
        return headers


class TokenSource:
    """Holds the token and renews it by calling `sign_in` in a thread: it blocks, and may take seconds.

    A sign-in that takes longer than `limit_s` is given up.
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
        """A token that will last for a while, at once unless a new one is due.

        Raises SignInError, UnreachableError or ConfigError where there is none to be had.
        """
        token = self._token
        if token is None or self._now() >= self._expires_at:
            return await self.renew(token)
        if self._now() >= self._renew_at and self._renewal is None:
            # Aside: a service that drips or is away must not hold up requests whose token is still good.
            self._renewal = asyncio.create_task(self._renew_aside(token))
            await asyncio.wait({self._renewal}, timeout=RENEW_WAIT_S)
        return self._token or token

    async def _renew_aside(self, token: Token) -> None:
        try:
            await self.renew(token)
        except BatchExportError as error:
            # A passcode that was good once never is again, and each try with a wrong password counts.
            refused = isinstance(error, SignInError)
            self._renew_at = self._expires_at if refused else self._now() + RENEW_RETRY_S
            log.warning("token not renewed, the old one is still good: %s", error)
        finally:
            self._renewal = None

    async def after_refusal(self, refused: Credential, error: SignInError, *, clock_off_s: float) -> Token:
        """Another token than the one that was refused."""
        return await self.renew(refused)

    async def renew(self, refused: Credential | None) -> Token:
        """Another token than `refused`. Those who ask together share one sign-in, and also its failure."""
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
            # Else each of N waiters would try a wrong password once more, until the account is locked.
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
                f"identity service {self._service}: no whole answer in {self._limit_s:.0f} s",
                hint="check auth_url (OS_AUTH_URL) and the network; its operators may have to restart it",
            ) from error

    def _keep(self, token: Token) -> None:
        now = self._now()
        register_secret(token.value)
        self._token = token
        if token.expires_at is None:
            self._renew_at = self._expires_at = float("inf")
            return
        # The length of its life is the cloud's word; our clock, which may be wrong, only counts it down.
        life_s = max(0.0, token.expires_at - (now if token.issued_at is None else token.issued_at))
        self._expires_at = now + life_s
        self._renew_at = self._expires_at - RENEW_SHARE * life_s

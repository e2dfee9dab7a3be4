"""What the targets of a run share when they sign in: the tokens of an account, the pace of each service.

A first sign-in is retried like every read: an identity service that restarts at ten at night must not cost
the night. For how long depends on whether someone waits, and on whether the service is reachable: its address
may be wrong.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from batchexport.cloud.auth.tokens import Token, TokenSource
from batchexport.cloud.http.authenticator import Authenticator, Credential
from batchexport.config.settings import CloudSettings
from batchexport.errors import AuthenticationError, StopRequestedError, TransientError, UnreachableError
from batchexport.retry import Backoff

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Concurrent sign-ins to one identity service. Each costs it a password hash, which is slow on purpose.
_AT_ONCE = 4
#: A longer `Retry-After` is capped at this: a wrong one must not cost the night.
_MAX_PAUSE_S = 60.0
_BETWEEN_TRIES = Backoff(first_s=0.5, cap_s=15.0)
#: Refused sign-ins of one user after which no more are tried; accounts are commonly locked after five or six.
_MAX_REFUSALS = 3
#: After a stop request, for a sign-in that is about to end: a run may still have servers to start.
_STOP_GRACE_S = 5.0


class SignInTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """For how many seconds a first sign-in is retried."""

    unreachable_s: float  #: while no connection is made: the address may be wrong
    unavailable_s: float  #: while the service says that it is busy or failing


#: While a person waits.
INTERACTIVE = SignInTimeouts(unreachable_s=10.0, unavailable_s=10.0)
#: For a run: restarts and upgrades of an identity service take minutes.
UNATTENDED = SignInTimeouts(unreachable_s=60.0, unavailable_s=300.0)


def sign_in_timeouts(settings: CloudSettings, *, for_a_run: bool) -> SignInTimeouts:
    """For how long to retry: by the settings, or else by whether it is for a run."""
    if (limit_s := settings.sign_in_timeout_s) is not None:
        return SignInTimeouts(unreachable_s=limit_s, unavailable_s=limit_s)
    return UNATTENDED if for_a_run else INTERACTIVE


class Pace:
    """The pace of one identity service: a few sign-ins at once, none before the time it asked for."""

    def __init__(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._sleep = sleep
        self._not_before = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn; it lasts as long as the context."""
        async with self._slots:
            while (wait_s := self._not_before - time.monotonic()) > 0:
                await self._sleep(wait_s)
            yield

    def pause(self, seconds: float) -> None:
        """Hold back all sign-ins for so long."""
        self._not_before = max(self._not_before, time.monotonic() + min(seconds, _MAX_PAUSE_S))


class PacedUser:
    """The pace of an identity service for the sign-ins of one user to several projects.

    Many wrong passwords lock an account: once some were refused and none was accepted, no more are tried.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._refusals = 0
        self._accepted = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises AuthenticationError if the user was refused too often."""
        async with self._pace.turn():
            if self._refusals >= _MAX_REFUSALS and not self._accepted:
                raise AuthenticationError(
                    f"not tried: {self._refusals} sign-ins of this user were refused; more may lock it",
                    hint="check user name, password, domains and project",
                )
            try:
                yield
            except AuthenticationError as error:
                self._refusals += error.status == 401
                raise
            self._accepted = True

    def pause(self, seconds: float) -> None:
        """Hold back all sign-ins for so long."""
        self._pace.pause(seconds)


class SignIns:
    """Shared by targets that sign in at the same time: tokens by account, pace by service and user."""

    def __init__(
        self,
        timeouts: SignInTimeouts = INTERACTIVE,
        *,
        stop: asyncio.Event | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._timeouts = timeouts
        self._stop = stop
        self._sleep = sleep
        self._tokens: dict[Hashable, TokenSource] = {}
        self._paces: dict[str, Pace] = {}
        self._users: dict[Hashable, PacedUser] = {}
        self._lock = threading.Lock()
        self._logged: set[str] = set()

    def tokens(
        self, account: Hashable, service: str, sign_in: Callable[[], Token], *, user: Hashable = None
    ) -> TokenSource:
        """The token source of an account, shared by all targets of it. May be called from a thread.

        `service` is the address of the identity service, by which sign-ins are paced; `user` identifies the
        user and its secret whatever the project, None = the same as `account`.
        """
        with self._lock:
            if service not in self._paces:
                self._paces[service] = Pace(self._sleep)
            who = (service, account if user is None else user)
            paced = self._users.setdefault(who, PacedUser(self._paces[service]))
            if account not in self._tokens:
                self._tokens[account] = TokenSource(sign_in, pace=paced, service=service)
            return self._tokens[account]

    def log_account(self, config_files: Sequence[str], notes: Sequence[str]) -> None:
        """Log once for all targets which files describe the account, and notes on it."""
        for path in config_files:
            if path not in self._logged:
                log.info("signed in with %s", path, extra={"action": "signed_in", "path": path})
        for note in notes:
            if note not in self._logged:
                log.warning("%s", note, extra={"action": "account_note"})
        self._logged.update(config_files, notes)

    async def first(self, authenticator: Authenticator) -> Credential:
        """A first credential, retried within the time limits.

        Raises the same as `Authenticator.valid`, and StopRequestedError if a stop is requested meanwhile.
        """
        # Requested before, the run only cleans up, and needs the cloud all the same.
        stop = None if self._stop is None or self._stop.is_set() else self._stop
        began = time.monotonic()
        failures = 0
        while True:
            try:
                return await _unless_stopped(authenticator.valid(), stop)
            except TransientError as error:
                failures += 1
                limit_s = self._limit_s(error)
                wait_s = min(error.retry_after_s or 0.0, _MAX_PAUSE_S)
                wait_s = max(wait_s, _BETWEEN_TRIES.delay_s(failures))
                if time.monotonic() - began + wait_s > limit_s:
                    raise
                if failures == 1:
                    extra = {"action": "sign_in_retried", "limit_s": limit_s}
                    log.warning("%s; trying again for up to %.0f s", error, limit_s, extra=extra)
            await _unless_stopped(_wait(self._sleep, wait_s), stop)

    def _limit_s(self, error: TransientError) -> float:
        unreachable = isinstance(error, UnreachableError)
        return self._timeouts.unreachable_s if unreachable else self._timeouts.unavailable_s


async def _unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event | None) -> T:
    """What `work` returns, unless a stop is requested first and it does not end soon after."""
    if stop is None:
        return await work
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=_STOP_GRACE_S)
        if not task.done():
            raise StopRequestedError("stopped before signing in; nothing was started")
        return task.result()
    finally:
        stopping.cancel()
        task.cancel()


async def _wait(sleep: Callable[[float], Awaitable[object]], seconds: float) -> None:
    await sleep(seconds)

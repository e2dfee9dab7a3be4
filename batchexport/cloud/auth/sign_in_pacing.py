"""What the targets of a run share when they sign in: the tokens of an account, a pace for each service.

A first sign-in is tried again like every read: an identity service that restarts at ten at night must not
cost the night. For how long depends on who waits, and on whether the service is there at all: perhaps its
address is wrong.
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
from batchexport.errors import SignInError, StopRequestedError, TransientError, UnreachableError
from batchexport.retry import Backoff

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Sign-ins to one identity service at the same time. Each costs it a hash that is slow on purpose.
_AT_ONCE = 4
#: A longer `Retry-After` is cut to this: a wrong one must not cost the night.
_MAX_PAUSE_S = 60.0
_BETWEEN_TRIES = Backoff(first_s=0.5, cap_s=15.0)
#: Refused sign-ins of one user after which no others are tried; accounts are commonly locked at five or six.
_MAX_REFUSALS = 3
#: After the wish to stop, for a sign-in that is about to end: a run may have servers to start yet.
_STOP_GRACE_S = 5.0


class Persistence(msgspec.Struct, frozen=True, kw_only=True):
    """For how long a first sign-in is tried again, in seconds."""

    unreachable_s: float  #: where no connection is made: perhaps the address is wrong
    unwell_s: float  #: where the service says that it is busy or broken


#: For somebody who waits for an answer.
BRIEFLY = Persistence(unreachable_s=10.0, unwell_s=10.0)
#: For a run: restarts and upgrades of an identity service take minutes.
FOR_A_RUN = Persistence(unreachable_s=60.0, unwell_s=300.0)


def persistence(access: CloudSettings, *, for_a_run: bool) -> Persistence:
    """For how long to try, as the settings say it or else by who waits."""
    if (said_s := access.sign_in_timeout_s) is not None:
        return Persistence(unreachable_s=said_s, unwell_s=said_s)
    return FOR_A_RUN if for_a_run else BRIEFLY


class Pace:
    """The way to one identity service: a few at once, and nobody before the time that it asked for."""

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
        """Let nobody sign in for so long."""
        self._not_before = max(self._not_before, time.monotonic() + min(seconds, _MAX_PAUSE_S))


class PacedUser:
    """The pace of an identity service, for the sign-ins of one user to several projects.

    Many wrong passwords lock an account. So once some were refused and none was taken, no more are tried.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._refusals = 0
        self._taken = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises SignInError where the user was refused too often."""
        async with self._pace.turn():
            if self._refusals >= _MAX_REFUSALS and not self._taken:
                raise SignInError(
                    f"not tried: {self._refusals} sign-ins of this user were refused; more may lock it",
                    hint="check user name, password, domains and project",
                )
            try:
                yield
            except SignInError as error:
                self._refusals += error.status == 401
                raise
            self._taken = True

    def pause(self, seconds: float) -> None:
        """Let nobody sign in for so long."""
        self._pace.pause(seconds)


class SignIns:
    """Shared by targets that sign in at the same time."""

    def __init__(
        self,
        persistence: Persistence = BRIEFLY,
        *,
        stop: asyncio.Event | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._persistence = persistence
        self._stop = stop
        self._sleep = sleep
        self._tokens: dict[Hashable, TokenSource] = {}
        self._paces: dict[str, Pace] = {}
        self._users: dict[Hashable, PacedUser] = {}
        self._lock = threading.Lock()
        self._mentioned: set[str] = set()

    def tokens(
        self, account: Hashable, service: str, sign_in: Callable[[], Token], *, user: Hashable = None
    ) -> TokenSource:
        """The tokens of an account: one holder for all who mean the same. May be called from a thread.

        `service` is the address of the identity service, by which sign-ins are paced; `user` stands for who
        signs in, whatever the project, with the secret; None = as `account`.
        """
        with self._lock:
            if service not in self._paces:
                self._paces[service] = Pace(self._sleep)
            who = (service, account if user is None else user)
            paced = self._users.setdefault(who, PacedUser(self._paces[service]))
            if account not in self._tokens:
                self._tokens[account] = TokenSource(sign_in, pace=paced, service=service)
            return self._tokens[account]

    def mention(self, config_files: Sequence[str], notes: Sequence[str]) -> None:
        """Log where the account is described, and what should be known of it: for all targets once."""
        for path in config_files:
            if path not in self._mentioned:
                log.info("signed in as %s says", path)
        for note in notes:
            if note not in self._mentioned:
                log.warning("%s", note)
        self._mentioned.update(config_files, notes)

    async def first(self, authenticator: Authenticator) -> Credential:
        """A credential to begin with, asked for again while it may come.

        Raises as `Authenticator.valid`, and StopRequestedError where a stop was asked for meanwhile.
        """
        # Asked for before, it means a run that only puts things right, and needs the cloud all the same.
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
                    log.warning("%s; trying again for up to %.0f s", error, limit_s)
            await _unless_stopped(_wait(self._sleep, wait_s), stop)

    def _limit_s(self, error: TransientError) -> float:
        unreachable = isinstance(error, UnreachableError)
        return self._persistence.unreachable_s if unreachable else self._persistence.unwell_s


async def _unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event | None) -> T:
    """What `work` returns, unless a stop is asked for first and it does not end soon after."""
    if stop is None:
        return await work
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=_STOP_GRACE_S)
        if not task.done():
            raise StopRequestedError("stopped before it was signed in; nothing was begun")
        return task.result()
    finally:
        stopping.cancel()
        task.cancel()


async def _wait(sleep: Callable[[float], Awaitable[object]], seconds: float) -> None:
    await sleep(seconds)

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from batchexport.cloud.auth.tokens import Token, TokenSource
from batchexport.errors import AuthenticationError, UnreachableError
from tests.cloud.conftest import token


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Identity:
    """Hands out tokens of a given life, or raises; counts how often it was asked."""

    def __init__(self, *, life_s: float | None = 3600.0, clock_off_s: float = 0.0) -> None:
        self.life_s = life_s
        self.clock_off_s = clock_off_s
        self.asked = 0
        self.failure: Exception | None = None
        self.clock = Clock()

    def __call__(self) -> Token:
        self.asked += 1
        if self.failure:
            raise self.failure
        issued = self.clock.now_s + self.clock_off_s
        ends = None if self.life_s is None else issued + self.life_s
        return replace(token(self.asked), issued_at=issued, expires_at=ends)

    def tokens(self) -> TokenSource:
        return TokenSource(self, now=self.clock)


async def test_one_token_serves_all_requests() -> None:
    identity = Identity()
    tokens = identity.tokens()
    assert await tokens.valid() is await tokens.valid()
    assert identity.asked == 1


async def test_fifty_waiters_share_one_sign_in() -> None:
    identity = Identity()
    tokens = identity.tokens()
    old = await tokens.valid()
    fresh = await asyncio.gather(*(tokens.renew(old) for _ in range(50)))
    assert identity.asked == 2
    assert {each.value for each in fresh} == {"secret-token-2"}


async def test_fifty_waiters_share_one_refusal() -> None:
    identity = Identity()
    tokens = identity.tokens()
    old = await tokens.valid()
    identity.failure = AuthenticationError("wrong password")
    outcomes = await asyncio.gather(*(tokens.renew(old) for _ in range(50)), return_exceptions=True)
    assert identity.asked == 2
    assert all(outcome is identity.failure for outcome in outcomes)


async def test_a_refusal_is_not_remembered_for_later() -> None:
    identity = Identity()
    identity.failure = AuthenticationError("wrong password")
    tokens = identity.tokens()
    with pytest.raises(AuthenticationError):
        await tokens.valid()
    identity.failure = None
    assert (await tokens.valid()).value == "secret-token-2"


async def test_a_late_complaint_about_a_token_already_replaced_asks_nobody() -> None:
    identity = Identity()
    tokens = identity.tokens()
    old = await tokens.valid()
    fresh = await tokens.renew(old)
    assert await tokens.renew(old) is fresh
    assert identity.asked == 2


async def test_a_waiter_that_is_cancelled_leaves_the_others_a_token() -> None:
    release = threading.Event()

    def sign_in() -> Token:
        assert release.wait(5)
        return token(7)

    tokens = TokenSource(sign_in)
    first, second = (asyncio.create_task(tokens.valid()) for _ in range(2))
    await asyncio.sleep(0)  # both are under way, the first in its thread
    first.cancel()
    release.set()
    assert (await second).value == "secret-token-7"
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_signing_in_does_not_block_the_loop() -> None:
    release = threading.Event()

    def sign_in() -> Token:
        assert release.wait(5)
        return token()

    waiting = asyncio.create_task(TokenSource(sign_in).valid())
    await asyncio.sleep(0)
    release.set()  # reached only because the loop went on
    assert await waiting == token()


@pytest.mark.parametrize(("life_s", "kept_s", "renewed_s"), [(86400, 43199, 43201), (3600, 1799, 1801)])
async def test_a_token_is_renewed_at_half_its_life(life_s: float, kept_s: float, renewed_s: float) -> None:
    identity = Identity(life_s=life_s)
    tokens = identity.tokens()
    await tokens.valid()
    identity.clock.now_s = 1000.0 + kept_s
    await tokens.valid()
    assert identity.asked == 1
    identity.clock.now_s = 1000.0 + renewed_s
    await tokens.valid()
    assert identity.asked == 2


async def test_a_clock_that_is_an_hour_wrong_changes_nothing() -> None:
    identity = Identity(clock_off_s=-7200.0)
    tokens = identity.tokens()
    await tokens.valid()
    identity.clock.now_s += 60
    await tokens.valid()
    assert identity.asked == 1


async def test_a_token_without_an_issue_time_lasts_to_its_end() -> None:
    clock = Clock()
    tokens = TokenSource(lambda: replace(token(), expires_at=1600.0), now=clock)
    first = await tokens.valid()
    clock.now_s = 1299.0
    assert await tokens.valid() is first
    clock.now_s = 1301.0
    assert await tokens.valid() is not first


async def test_a_token_without_an_end_is_never_renewed_by_time() -> None:
    identity = Identity(life_s=None)
    tokens = identity.tokens()
    await tokens.valid()
    identity.clock.now_s += 1e9
    await tokens.valid()
    assert identity.asked == 1


async def test_a_passcode_that_is_good_once_serves_to_the_end_of_its_token() -> None:
    identity = Identity()
    tokens = identity.tokens()
    old = await tokens.valid()
    identity.failure = AuthenticationError("401: the passcode was used before")
    identity.clock.now_s = 1000.0 + 1801
    assert await tokens.valid() is old
    identity.clock.now_s = 1000.0 + 3599
    assert await tokens.valid() is old
    assert identity.asked == 2  # refused once, it is not asked again and again
    identity.clock.now_s = 1000.0 + 3601
    with pytest.raises(AuthenticationError):
        await tokens.valid()


async def test_while_the_identity_service_is_away_the_old_token_is_used_on() -> None:
    identity = Identity()
    tokens = identity.tokens()
    old = await tokens.valid()
    identity.failure = UnreachableError("down")
    identity.clock.now_s = 1000.0 + 3400
    assert await tokens.valid() is old
    assert await tokens.valid() is old
    assert identity.asked == 2  # not once per request
    identity.clock.now_s += 31
    identity.failure = None
    assert await tokens.valid() is not old


async def test_a_token_that_has_ended_is_not_used_on() -> None:
    identity = Identity()
    tokens = identity.tokens()
    await tokens.valid()
    identity.failure = UnreachableError("down")
    identity.clock.now_s = 1000.0 + 3601
    with pytest.raises(UnreachableError):
        await tokens.valid()


def test_a_token_does_not_show_its_value() -> None:
    assert "secret" not in repr(token())

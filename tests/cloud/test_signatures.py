"""A key that is refused: for good where it never was good, else for a while, one request at a time."""

from __future__ import annotations

import pytest

from batchexport.cloud.auth.access_keys import PAUSES_S, AccessKey, RequestSigner
from batchexport.errors import AuthenticationError

REFUSED = AuthenticationError("signature is wrong", method="GET", url="https://evs/x", status=401)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def key(clock: Clock) -> RequestSigner:
    made = AccessKey(access="AK", secret="sk-sk-sk-sk")
    return RequestSigner(made, project_id="p", catalog=(), steady=clock)


async def refuse(signatures: RequestSigner) -> None:
    with pytest.raises(AuthenticationError):
        await signatures.after_refusal(signatures, REFUSED, clock_off_s=0.0)


def sign(signatures: RequestSigner) -> None:
    signatures.headers("GET", "https://evs/x", None, None)


async def test_a_key_that_never_was_good_is_not_used_again() -> None:
    clock = Clock()
    signatures = key(clock)
    await signatures.valid()
    sign(signatures)
    await refuse(signatures)
    clock.now += 100_000.0
    with pytest.raises(AuthenticationError):
        await signatures.valid()
    with pytest.raises(AuthenticationError):
        sign(signatures)


async def test_a_key_that_was_good_is_tried_by_one_request_after_a_pause() -> None:
    clock = Clock()
    signatures = key(clock)
    signatures.accepted()
    for _ in range(16):  # all that were under way together
        await refuse(signatures)
    with pytest.raises(AuthenticationError):
        await signatures.valid()
    clock.now += PAUSES_S[0]
    await signatures.valid()
    with pytest.raises(AuthenticationError):  # the others wait for what becomes of it
        await signatures.valid()
    sign(signatures)
    with pytest.raises(AuthenticationError):
        sign(signatures)
    signatures.accepted()
    await signatures.valid()
    sign(signatures)


async def test_a_key_that_stays_refused_is_tried_less_often_than_locks_it() -> None:
    clock = Clock()
    signatures = key(clock)
    signatures.accepted()
    await refuse(signatures)
    sent = 1
    for _ in range(100_000 // 10):
        clock.now += 10.0
        try:
            await signatures.valid()
        except AuthenticationError:
            continue
        sign(signatures)
        await refuse(signatures)
        sent += 1
    assert sent == 1 + len(PAUSES_S) < 5

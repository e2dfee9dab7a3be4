"""Sign-ins are tried again, paced and shared; none hangs, and none holds up requests that have a token."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from batchexport.cloud import SignIns, connect, sign_in_timeouts
from batchexport.cloud.auth.sign_in_pacing import INTERACTIVE, UNATTENDED, SignInTimeouts
from batchexport.cloud.auth.tokens import Token, TokenSource, run_in_thread
from batchexport.config.settings import CloudSettings, Limits
from batchexport.errors import (
    AuthenticationError,
    ConfigError,
    StopRequestedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from batchexport.model import TargetKey
from tests.cloud.conftest import token
from tests.cloud.keystone import PASSWORD, Keystone, clouds_yaml
from tests.cloud.scripted import Reply, ScriptedServer, Seen

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")
LIMITS = Limits(requests_per_second=0, concurrency=4)


class Naps:
    """Sleeps no time, and counts how long it should have been."""

    def __init__(self) -> None:
        self.s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.s.append(seconds)
        await asyncio.sleep(0)


class Service:
    """Fails in these ways one after the other, and then gives tokens."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked = 0

    def __call__(self) -> Token:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return token(self.asked)


async def first(service: Service, *, patience: SignInTimeouts = UNATTENDED) -> tuple[Token, Naps]:
    naps = Naps()
    sign_ins = SignIns(patience, sleep=naps)
    held = await sign_ins.first(sign_ins.tokens("me", "http://id", service))
    assert isinstance(held, Token)
    return held, naps


@pytest.mark.parametrize(
    "failure",
    [TransientError("503"), UnreachableError("refused"), ThrottledError("429"), TransientError("502")],
    ids=str,
)
async def test_a_first_sign_in_is_tried_again(failure: Exception) -> None:
    service = Service(failure, failure, failure)
    held, naps = await first(service)
    assert held.value == "secret-token-4"
    assert len(naps.s) >= 3


async def test_the_service_says_for_how_long_to_wait() -> None:
    _, naps = await first(Service(TransientError("503", retry_after_s=7.0)))
    assert naps.s == [7.0]


async def test_a_wait_that_a_service_asks_for_is_cut() -> None:
    _, naps = await first(Service(TransientError("503", retry_after_s=899.0)))
    assert naps.s == [60.0]


@pytest.mark.parametrize(
    "failure", [AuthenticationError("wrong password"), ConfigError("no project")], ids=str
)
async def test_what_time_does_not_heal_is_not_tried_again(failure: Exception) -> None:
    service = Service(failure)
    with pytest.raises(type(failure)):
        await first(service)
    assert service.asked == 1


async def test_an_address_that_may_be_wrong_is_given_up_sooner_than_a_service_that_is_unwell() -> None:
    patience = SignInTimeouts(unreachable_s=0.0, unavailable_s=60.0)
    with pytest.raises(UnreachableError):
        await first(Service(UnreachableError("refused")), patience=patience)
    await first(Service(TransientError("503")), patience=patience)


def test_a_run_is_more_patient_than_somebody_who_waits_and_a_setting_says_it_for_both() -> None:
    for for_a_run, patience in ((True, UNATTENDED), (False, INTERACTIVE)):
        assert sign_in_timeouts(CloudSettings(), for_a_run=for_a_run) == patience
        said = sign_in_timeouts(CloudSettings(sign_in_timeout_s=3), for_a_run=for_a_run)
        assert said == SignInTimeouts(unreachable_s=3, unavailable_s=3)


async def test_targets_of_one_account_share_a_token_and_others_do_not() -> None:
    sign_ins = SignIns()
    service, other = Service(), Service()
    same = [sign_ins.tokens("me", "http://id", service) for _ in range(3)]
    held = await asyncio.gather(*(sign_ins.first(tokens) for tokens in same))
    assert service.asked == 1
    assert len({id(each) for each in held}) == 1
    await sign_ins.first(sign_ins.tokens("you", "http://id", other))
    assert other.asked == 1


async def test_twelve_projects_all_get_in_where_three_a_round_are_let_in() -> None:
    let_in = 0
    lock = threading.Lock()

    class Naps2(Naps):
        async def __call__(self, seconds: float) -> None:
            nonlocal let_in
            let_in = 0
            await super().__call__(seconds)

    def sign_in() -> Token:
        nonlocal let_in
        with lock:
            let_in += 1
            if let_in > 3:
                raise ThrottledError("429", retry_after_s=0.01)
        return token()

    sign_ins = SignIns(UNATTENDED, sleep=Naps2())
    held = await asyncio.gather(
        *(sign_ins.first(sign_ins.tokens(n, "http://id", sign_in)) for n in range(12))
    )
    assert len(held) == 12


async def test_one_throttled_sign_in_makes_all_others_to_that_service_wait() -> None:
    naps = Naps()
    sign_ins = SignIns(INTERACTIVE, sleep=naps)
    with pytest.raises(ThrottledError):
        await sign_ins.tokens("me", "http://id", Service(ThrottledError("429", retry_after_s=0.05))).valid()
    await sign_ins.tokens("you", "http://else", Service()).valid()
    assert naps.s == []
    await sign_ins.tokens("them", "http://id", Service()).valid()
    assert naps.s and 0 < naps.s[0] <= 0.05


async def test_a_sign_in_without_end_is_given_up() -> None:
    release = threading.Event()

    def late_token() -> Token:
        release.wait(30)
        return token()

    tokens = TokenSource(late_token, service="http://id", limit_s=0.05)
    with pytest.raises(UnreachableError, match=r"http://id: no complete response in 0 s"):
        await tokens.valid()
    release.set()


async def test_a_stop_ends_a_sign_in_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchexport.cloud.auth.sign_in_pacing._STOP_GRACE_S", 0.05)
    stop, release = asyncio.Event(), threading.Event()
    sign_ins = SignIns(UNATTENDED, stop=stop)

    def late_token() -> Token:
        release.wait(30)
        return token()

    hanging = sign_ins.tokens("me", "http://id", late_token)
    waiting = asyncio.create_task(sign_ins.first(hanging))
    await asyncio.sleep(0)
    stop.set()
    with pytest.raises(StopRequestedError):
        await waiting
    release.set()


async def test_a_stop_ends_the_wait_between_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchexport.cloud.auth.sign_in_pacing._STOP_GRACE_S", 0.01)
    stop = asyncio.Event()
    sign_ins = SignIns(UNATTENDED, stop=stop, sleep=lambda _: asyncio.Event().wait())
    service = Service(*[TransientError("503")] * 9)
    waiting = asyncio.create_task(sign_ins.first(sign_ins.tokens("me", "http://id", service)))
    while not service.asked:  # noqa: ASYNC110 - it is asked in a thread
        await asyncio.sleep(0.001)
    stop.set()
    with pytest.raises(StopRequestedError):
        await waiting


async def test_a_renewal_that_drips_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchexport.cloud.auth.tokens.RENEW_WAIT_S", 0.02)
    release = threading.Event()
    now = 1000.0
    asked = 0

    def sign_in() -> Token:
        nonlocal asked
        asked += 1
        if asked > 1:
            release.wait(30)
        return replace(token(asked), issued_at=now, expires_at=now + 3600)

    tokens = TokenSource(sign_in, now=lambda: now)
    old = await tokens.valid()
    now += 1801
    began = time.monotonic()
    for _ in range(50):
        assert await tokens.valid() is old
    assert time.monotonic() - began < 5.0
    assert asked == 2
    release.set()
    while (fresh := await tokens.valid()) is old:  # noqa: ASYNC110 - as a request would
        await asyncio.sleep(0.001)
    assert fresh.value == "secret-token-2"


async def test_threads_that_hang_do_not_pile_up() -> None:
    release = threading.Event()
    began = threading.active_count()
    for _ in range(12):
        with pytest.raises(TimeoutError):
            await run_in_thread(lambda: release.wait(30), limit_s=0.01)
    assert threading.active_count() - began <= 8
    release.set()
    until = time.monotonic() + 10
    while threading.active_count() > began and time.monotonic() < until:  # noqa: ASYNC110 - threads
        await asyncio.sleep(0.001)
    assert await run_in_thread(lambda: 7, limit_s=1.0) == 7


async def test_keystone_away_at_first_does_not_cost_the_run(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds_yaml(tmp_path, f"{server.url}/identity/v3")))
    keystone = Keystone(server)
    away = 3

    def answer(seen: Seen) -> Reply:
        nonlocal away
        if "identity" in seen.path and away:
            away -= 1
            return Reply(503, "<html><h1>503 Service Unavailable</h1></html>", {"Retry-After": "0.01"})
        return keystone.answer(seen)

    server.answers(answer)
    sign_ins = SignIns(UNATTENDED, sleep=Naps())
    async with (
        connect(TargetKey(), CloudSettings(cloud="one"), limits=LIMITS, sign_ins=sign_ins),
        connect(
            TargetKey(region="R1"), CloudSettings(cloud="one"), limits=LIMITS, sign_ins=sign_ins
        ) as client,
    ):
        assert [page async for page in client.block_storage.volumes()] == []
    assert len(keystone.requests) == 1
    assert PASSWORD in str(keystone.requests)


async def test_a_wrong_password_is_not_tried_for_every_project() -> None:
    sign_ins = SignIns()
    services = [Service(AuthenticationError("wrong", status=401)) for _ in range(12)]
    ended = await asyncio.gather(
        *(
            sign_ins.first(sign_ins.tokens(number, "http://id", service, user="me"))
            for number, service in enumerate(services)
        ),
        return_exceptions=True,
    )
    assert all(isinstance(error, AuthenticationError) for error in ended)
    assert sum(service.asked for service in services) <= 4
    assert "more may lock it" in str(ended[-1])
    other = Service()
    await sign_ins.first(sign_ins.tokens("x", "http://id", other, user="somebody else"))
    assert other.asked == 1


async def test_projects_that_refuse_a_user_who_is_known_do_not_stop_the_others() -> None:
    sign_ins = SignIns()
    await sign_ins.first(sign_ins.tokens("first", "http://id", Service(), user="me"))
    services = [Service(AuthenticationError("no access", status=401)) for _ in range(6)] + [Service()]
    ended = await asyncio.gather(
        *(
            sign_ins.first(sign_ins.tokens(number, "http://id", service, user="me"))
            for number, service in enumerate(services)
        ),
        return_exceptions=True,
    )
    assert isinstance(ended[-1], Token)
    assert all(service.asked == 1 for service in services)

"""How often a resource is asked for, and what is remembered of what was answered."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import pytest

from batchexport.engine.resources.kind import ResourceKind, is_refused
from batchexport.engine.resources.requests import (
    ASK_AGAIN_S,
    MAX_RETRY_AFTER_S,
    Requests,
)
from batchexport.errors import AuthenticationError, CloudError, RefusedError, TransientError
from batchexport.store import Work
from tests.engine.fast_time import run_fast


class Kind:
    """A kind of resource whose requests are answered as a test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, tuple[str, ...]]] = []
        self.failures: Mapping[str, CloudError] = {}
        self.error: CloudError | None = None

    async def _request(self, what: str, ids: Collection[str], fence: Callable[[], None]) -> Any:
        fence()
        self.sent.append((what, tuple(ids)))
        if self.error is not None:
            raise self.error
        return self.failures

    async def acquire(self, ids: Collection[str], fence: Callable[[], None]) -> Any:
        return await self._request("acquire", ids, fence)

    async def release(self, ids: Collection[str], fence: Callable[[], None]) -> Any:
        return await self._request("release", ids, fence)

    def is_final(self, resource_id: str, error: CloudError) -> bool:
        return is_refused(error)


class Owned:
    """Work under a lease."""

    fresh = True

    def check_owned(self) -> None:
        """It is owned."""


class Bench:
    def __init__(self) -> None:
        self.kind, self.work, self.is_stopping = Kind(), Owned(), False
        self.requests = Requests(
            cast("ResourceKind", self.kind), cast("Work", self.work), is_stopping=lambda: self.is_stopping
        )


async def test_nothing_is_sent_for_no_resource() -> None:
    bench = Bench()
    assert await bench.requests.acquire([]) == {}
    await bench.requests.release([])
    assert bench.kind.sent == []


def test_what_was_asked_for_is_left_alone_for_a_while() -> None:
    async def work() -> None:
        bench = Bench()
        assert bench.requests.may_ask("a")
        await bench.requests.release(["a"])
        assert not bench.requests.may_ask("a") and bench.requests.may_ask("b")
        await asyncio.sleep(ASK_AGAIN_S - 1)
        assert not bench.requests.may_ask("a")
        await asyncio.sleep(1)
        assert bench.requests.may_ask("a")

    run_fast(work())


def test_a_request_that_may_have_arrived_though_the_sign_in_failed_is_not_repeated_at_once() -> None:
    async def work() -> None:
        bench = Bench()
        bench.kind.error = AuthenticationError("refused")
        with pytest.raises(AuthenticationError):
            await bench.requests.release(["a"])
        assert not bench.requests.may_ask("a")

    run_fast(work())


@pytest.mark.parametrize("held_back_by", ["lease", "stop"])
def test_what_the_fence_holds_back_may_be_asked_for_at_once(held_back_by: str) -> None:
    async def work() -> None:
        bench = Bench()
        bench.work.fresh, bench.is_stopping = held_back_by != "lease", held_back_by == "stop"
        assert await bench.requests.acquire(["a"]) == {}
        assert bench.kind.sent == [] and bench.requests.may_ask("a") and bench.requests.answers == {}

    run_fast(work())


async def test_a_run_that_stops_releases_all_the_same() -> None:
    bench = Bench()
    bench.is_stopping = True
    await bench.requests.release(["a"])
    assert bench.kind.sent == [("release", ("a",))]


@pytest.mark.parametrize("asked_s", [None, 100.0, 1e9])
def test_a_cloud_that_asks_to_be_left_alone_is_for_some_minutes(asked_s: float | None) -> None:
    async def work() -> None:
        bench = Bench()
        bench.kind.failures = {"a": TransientError("busy", retry_after_s=asked_s)}
        await bench.requests.release(["a", "b"])
        assert bench.requests.answers == {"a": "busy"}
        expected_s = min(asked_s or 0.0, MAX_RETRY_AFTER_S)
        await asyncio.sleep(max(0.0, expected_s - 1))
        assert not bench.requests.may_ask("a")
        await asyncio.sleep(30)
        assert bench.requests.may_ask("a")

    run_fast(work())


def test_failures_in_a_row_make_the_pauses_longer_until_one_request_has_its_effect() -> None:
    async def pause_s(requests: Requests) -> int:
        waited = 0
        while not requests.may_ask("a"):
            await asyncio.sleep(1)
            waited += 1
        return waited

    async def work() -> None:
        bench = Bench()
        bench.kind.failures = {"a": TransientError("busy")}
        pauses = []
        for _ in range(4):
            await bench.requests.release(["a"])
            pauses.append(await pause_s(bench.requests))
        assert pauses[-1] > pauses[0]
        bench.requests.done("a")
        assert bench.requests.answers == {} and bench.requests.may_ask("a")
        await bench.requests.release(["a"])
        assert await pause_s(bench.requests) < pauses[-1]

    run_fast(work())


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (RefusedError("no", status=403), True),
        (RefusedError("on its way", status=409), False),
        (TransientError("busy", status=503), False),
    ],
)
async def test_only_a_refusal_for_good_is_told_to_who_acquires(error: CloudError, is_final: bool) -> None:
    bench = Bench()
    bench.kind.failures = {"a": error}
    assert await bench.requests.acquire(["a", "b"]) == ({"a": error} if is_final else {})


async def test_an_error_of_the_whole_request_is_that_of_each() -> None:
    bench = Bench()
    bench.kind.error = RefusedError("no", status=403)
    assert set(await bench.requests.acquire(["a", "b"])) == {"a", "b"}

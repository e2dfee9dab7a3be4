"""Lists by pages: too slow in long ones, or without an end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from batchexport.cloud.block_storage import BlockStorage
from batchexport.cloud.http import paging
from batchexport.cloud.http.paging import SMALL_LISTS, Pager
from batchexport.dialect import CINDER
from batchexport.errors import RefusedError, TransientError, UnreachableError
from tests.cloud.conftest import Bench
from tests.cloud.scripted import Reply, Seen


@pytest.fixture
def volumes(bench: Bench) -> BlockStorage:
    return BlockStorage(bench.session, bench.endpoint, CINDER)


async def listed(volumes: BlockStorage) -> list[list[str]]:
    return [[volume.volume_id for volume in page] async for page in volumes.volumes()]


async def test_a_list_without_end_is_not_read_for_ever(
    bench: Bench, volumes: BlockStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 20)
    numbers = itertools.count()

    def one_more(seen: Seen) -> Reply:
        return Reply(200, {"volumes": [{"id": f"v{next(numbers)}"}], "volumes_links": [{"rel": "next"}]})

    bench.server.answers(one_more)
    with pytest.raises(RefusedError, match="has no end"):
        await listed(volumes)
    assert len(bench.server.seen) == 20


def slow_above(limit: int, total: int, *, status: int = 504) -> Callable[[Seen], Reply]:
    """A list that takes too long where more than `limit` entries are asked for at once."""

    def answer(seen: Seen) -> Reply:
        if int(seen.query["limit"]) > limit:
            return Reply(status, "<html><h1>504 Gateway Time-out</h1></html>")
        return whole(total)(seen)

    return answer


def whole(total: int) -> Callable[[Seen], Reply]:
    ids = [f"v{number:04}" for number in range(total)]

    def answer(seen: Seen) -> Reply:
        start = ids.index(seen.query["marker"]) + 1 if "marker" in seen.query else 0
        end = start + int(seen.query["limit"])
        more = [{"rel": "next", "href": "http://x"}] if end < total else []
        return Reply(200, {"volumes": [{"id": each} for each in ids[start:end]], "volumes_links": more})

    return answer


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_list_that_is_too_slow_is_asked_for_by_small_pages(
    bench: Bench, volumes: BlockStorage, status: int
) -> None:
    bench.server.answers(slow_above(100, 250, status=status))
    assert [len(page) for page in await listed(volumes)] == [100, 100, 50]
    begun = len(bench.server.seen)
    assert begun == 2 + 3
    assert [len(page) for page in await listed(volumes)] == [100, 100, 50]
    assert len(bench.server.seen) == begun + 3  # the long one is not tried each time


async def test_a_list_that_no_gateway_waits_for_is_given_up_after_two_tries(
    bench: Bench, volumes: BlockStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long page and a short one, a minute each: then others may go on by ids."""
    monkeypatch.setattr(bench.session, "_steady", lambda: 60.0 * len(bench.server.seen))
    bench.server.answers(slow_above(0, 250))
    with pytest.raises(TransientError):
        await listed(volumes)
    assert [seen.query["limit"] for seen in bench.server.seen] == ["1000", "100"]


async def test_long_pages_are_tried_again_some_day(bench: Bench, volumes: BlockStorage) -> None:
    bench.server.answers(slow_above(100, 5))
    await listed(volumes)
    bench.server.seen.clear()
    bench.server.answers(whole(5))
    for _ in range(SMALL_LISTS + 1):
        await listed(volumes)
    assert [seen.query["limit"] for seen in bench.server.seen] == ["100"] * SMALL_LISTS + ["1000"]


async def test_a_cloud_that_cannot_be_reached_is_not_called_slow_once_it_is_back(
    bench: Bench, volumes: BlockStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.server.answers(whole(5))
    page, tries = Pager._page, itertools.count()

    async def away_at_first(*of: Any, **how: Any) -> Any:
        if next(tries) == 0:
            raise UnreachableError("no connection: connection refused")
        return await page(*of, **how)

    monkeypatch.setattr(Pager, "_page", away_at_first)
    assert [len(page) for page in await listed(volumes)] == [5]
    assert [seen.query["limit"] for seen in bench.server.seen] == ["1000"]


async def test_a_service_that_is_away_is_not_asked_for_less(bench: Bench, volumes: BlockStorage) -> None:
    bench.server.answers(Reply(503))
    with pytest.raises(TransientError):
        await listed(volumes)
    assert {seen.query["limit"] for seen in bench.server.seen} == {"1000"}

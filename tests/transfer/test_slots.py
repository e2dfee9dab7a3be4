from __future__ import annotations

import asyncio
from collections import Counter

from batchexport.transfer import TransferSlots


class Transfers:
    """Transfers that go on until they are told to end."""

    def __init__(self, count: int) -> None:
        self.slots = TransferSlots(count)
        self.running = Counter[str]()
        self.ends: list[tuple[str, asyncio.Event]] = []

    async def transfer(self, destination: str) -> None:
        async with self.slots.slot(destination):
            self.running[destination] += 1
            end = asyncio.Event()
            self.ends.append((destination, end))
            await end.wait()
            self.running[destination] -= 1

    async def end_one(self, destination: str) -> None:
        place = next(number for number, (each, _) in enumerate(self.ends) if each == destination)
        self.ends.pop(place)[1].set()
        await settled()


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_destination_alone_has_all() -> None:
    transfers = Transfers(3)
    async with asyncio.TaskGroup() as group:
        with transfers.slots.expected("a"):
            for _ in range(4):
                group.create_task(transfers.transfer("a"))
            await settled()
            assert transfers.running == {"a": 3}
            for _ in range(4):
                await transfers.end_one("a")
    assert transfers.running == {"a": 0}


async def test_each_destination_that_is_open_can_begin_at_once() -> None:
    transfers = Transfers(4)
    async with asyncio.TaskGroup() as group:
        with transfers.slots.expected("a"):
            with transfers.slots.expected("b"):
                for _ in range(5):
                    group.create_task(transfers.transfer("a"))
                await settled()
                assert transfers.running == {"a": 3}
                for _ in range(2):
                    group.create_task(transfers.transfer("b"))
                await settled()
                assert transfers.running == {"a": 3, "b": 1}
                await transfers.end_one("b")
                assert transfers.running == {"a": 3, "b": 1}, "the slot of b is kept for it"
                await transfers.end_one("b")
                assert transfers.running == {"a": 3, "b": 0}
            await settled()
            assert transfers.running == {"a": 4, "b": 0}, "b is closed: a may have its slot"
            for _ in range(5):
                await transfers.end_one("a")


async def test_with_fewer_slots_than_destinations_each_has_its_turn() -> None:
    transfers = Transfers(1)
    names = ["a", "b", "c"]
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(transfers.transfer(name))
        with transfers.slots.expected("a"), transfers.slots.expected("b"), transfers.slots.expected("c"):
            for name in names:
                await settled()
                assert transfers.running[name] == transfers.running.total() == 1
                await transfers.end_one(name)


async def test_who_is_cancelled_while_he_waits_takes_no_slot() -> None:
    transfers = Transfers(1)
    first, second = [asyncio.create_task(transfers.transfer("a")) for _ in range(2)]
    await settled()
    second.cancel()
    await settled()
    assert second.cancelled()
    await transfers.end_one("a")
    await first
    async with transfers.slots.slot("a"):
        pass


async def test_who_is_cancelled_when_his_turn_has_come_gives_it_back() -> None:
    transfers = Transfers(1)
    async with transfers.slots.slot("a"):
        second = asyncio.create_task(transfers.transfer("a"))
        await settled()
    second.cancel()  # leaving the slot let nobody else run: its turn has come, and it does not know
    await settled()
    assert second.cancelled()
    assert not transfers.running
    async with transfers.slots.slot("a"):
        pass


async def test_who_is_cancelled_as_a_slot_comes_free_takes_none() -> None:
    transfers = Transfers(1)
    first = asyncio.create_task(transfers.transfer("a"))
    await settled()
    second = asyncio.create_task(transfers.transfer("a"))
    third = asyncio.create_task(transfers.transfer("a"))
    await settled()
    first.cancel()  # both within one round of the loop: the slot comes free before the second knows
    second.cancel()
    await settled()
    assert (first.cancelled(), second.cancelled()) == (True, True)
    assert [destination for destination, _ in transfers.ends] == ["a", "a"]
    transfers.ends.pop()[1].set()
    await third

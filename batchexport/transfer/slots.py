"""Which transfers may go on at once: so many, of which no destination holds all while another has work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class TransferSlots:
    """Slots for transfers. Each destination that is open has one of its own, as far as there are enough."""

    def __init__(self, count: int) -> None:
        """`count` transfers at once, of all destinations together."""
        self._free = count
        self._open = Counter[str]()  # by destination: by how many it is worked on
        self._held = Counter[str]()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []  # in the order in which they came

    @contextmanager
    def expected(self, destination: str) -> Iterator[None]:
        """While the context lasts, a slot is kept for transfers to this destination."""
        self._open[destination] += 1
        try:
            yield
        finally:
            self._open[destination] -= 1
            self._hand_out()

    @asynccontextmanager
    async def slot(self, destination: str) -> AsyncIterator[None]:
        """A slot, once one is free for this destination; it is held while the context lasts."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((destination, turn))
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed out in the same moment
                self._give_back(destination)
            else:
                self._waiting.remove((destination, turn))
            raise
        try:
            yield
        finally:
            self._give_back(destination)

    def _give_back(self, destination: str) -> None:
        self._free += 1
        self._held[destination] -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        for destination, turn in list(self._waiting):
            # Who was cancelled knows that in the next round of the loop, and is gone from here then.
            if not turn.done() and self._may_have(destination):
                self._waiting.remove((destination, turn))
                self._free -= 1
                self._held[destination] += 1
                turn.set_result(None)

    def _may_have(self, destination: str) -> bool:
        if self._held[destination] == 0:
            return self._free > 0
        kept = sum(
            1 for each, users in self._open.items() if users and not self._held[each] and each != destination
        )
        return self._free > kept

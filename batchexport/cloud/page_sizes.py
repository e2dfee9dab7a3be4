"""How much of a list to ask for at once: less where the cloud does not make a long page in time."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

#: The most that any of the clouds gives, and EVS refuses to be asked for more.
PAGE_SIZE = 1000
#: What is asked for where long pages take longer than the gateway waits for them.
SMALL_PAGE_SIZE = 100
#: After so many lists by small pages the long ones are tried again: it may have been an outage.
SMALL_LISTS = 30


class PageSizes:
    """Remembers of which lists, by their addresses, long pages came to nothing while short ones came."""

    def __init__(self) -> None:
        self._small: dict[str, int] = {}  # by address: lists that were begun since it was slow

    def begin(self, address: str) -> int:
        """How many entries of this list to ask for at once."""
        lists = self._small.get(address)
        if lists is None:
            return PAGE_SIZE
        if lists >= SMALL_LISTS:
            del self._small[address]
            return PAGE_SIZE
        self._small[address] = lists + 1
        return SMALL_PAGE_SIZE

    def was_slow(self, address: str) -> None:
        """A long page of this list came to nothing, and a short one came."""
        if not self._small:
            log.warning("long lists take the cloud too long; asking for %d entries at once", SMALL_PAGE_SIZE)
        self._small[address] = 0

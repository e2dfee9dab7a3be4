"""Whether the values of a long list all differ, told without keeping them and without an index."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import eq, lt

#: More values are not looked at, so that memory stays bounded: eight bytes each, and 40 for a moment.
MOST_VALUES = 1 << 20


class Distinct:
    """Takes values and says whether they surely all differ: where they rise or their hashes differ, they do.

    Hashes are kept as floating-point numbers, which Python sorts more than twice as fast as integers. They
    are of 53 bits then: of a million different values two are told to be alike once in twenty thousand lists.
    """

    def __init__(self, earlier: Callable[[], Iterable[str]]) -> None:
        """`earlier` gives the values that were added so far once more, should they cease to rise."""
        self._earlier = earlier
        self._hashes = array("d")
        self._rising = True
        self._last = ""

    def add(self, values: Sequence[str]) -> None:
        """Take more values."""
        if self._rising and values:
            if values[0] > self._last and all(map(lt, values, islice(values, 1, None))):
                self._last = values[-1]
                return
            self._rising = False
            self._hashes.extend(map(hash, islice(self._earlier(), MOST_VALUES + 1)))
        if len(self._hashes) <= MOST_VALUES:
            self._hashes.extend(map(hash, values))

    def are_surely(self) -> bool:
        """True = no value was there twice. False = perhaps one was, or there were too many to tell."""
        if len(self._hashes) > MOST_VALUES:
            return False
        ordered = sorted(self._hashes)
        return not any(map(eq, ordered, islice(ordered, 1, None)))

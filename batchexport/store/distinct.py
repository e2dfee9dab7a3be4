"""Whether the values of a long list all differ, told without keeping them and without an index."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import eq, lt

#: More values are not looked at, so that memory stays bounded: eight bytes each, and 40 for a moment.
MOST_VALUES = 1 << 20

#: The bytes of an id that make its mark: those that random ids, ids of clocks and counted ones differ in.
_MARKING = (0, 1, 2, 3, 13, 14, 15)
_ID_BYTES = 16
_MARK_BYTES = 8


def marks_of_texts(values: Sequence[str]) -> Iterator[float]:
    """Their hashes: different ones belong to different texts.

    They are of 53 bits: of a million different texts two are told to be alike once in twenty thousand lists.
    """
    return map(hash, values)


def marks_of_ids(values: Sequence[str]) -> array[float]:
    """Seven bytes of each id, all ids at once: half the time that hashes take, for they are made one by one.

    Raises ValueError for what is not made of hexadecimal digits and hyphens.
    """
    ids = bytes.fromhex("".join(values).replace("-", ""))
    parts = bytearray(_MARK_BYTES * len(values))
    for place, byte in enumerate(_MARKING):
        parts[place::_MARK_BYTES] = ids[byte::_ID_BYTES]
    # The last byte holds the sign and most of the exponent: with this one none is a NaN, which has no order.
    parts[_MARK_BYTES - 1 :: _MARK_BYTES] = b"\x3f" * len(values)
    return array("d", bytes(parts))


class Distinct:
    """Takes values and says whether they surely all differ: where they rise or their marks differ, they do.

    Marks are floating-point numbers, which Python sorts more than twice as fast as integers.
    """

    def __init__(
        self, marks_of: Callable[[Sequence[str]], Iterable[float]], earlier: Callable[[], Iterator[str]]
    ) -> None:
        """`earlier` gives the values that were added so far once more, should they cease to rise."""
        self._marks_of = marks_of
        self._earlier = earlier
        self._marks = array("d")
        self._rising = True
        self._last = ""

    def add(self, values: Sequence[str]) -> None:
        """Take more values."""
        if self._rising and values:
            if values[0] > self._last and all(map(lt, values, islice(values, 1, None))):
                self._last = values[-1]
                return
            self._rising = False
            earlier = self._earlier()
            while len(self._marks) <= MOST_VALUES and (some := list(islice(earlier, 1000))):
                self._marks.extend(self._marks_of(some))
        if len(self._marks) <= MOST_VALUES:
            self._marks.extend(self._marks_of(values))

    def are_surely(self) -> bool:
        """True = no value was there twice. False = perhaps one was, or there were too many to tell."""
        if len(self._marks) > MOST_VALUES:
            return False
        ordered = sorted(self._marks)
        return not any(map(eq, ordered, islice(ordered, 1, None)))

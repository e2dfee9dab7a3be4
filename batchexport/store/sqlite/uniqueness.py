"""Whether the values of a long list all differ, told without keeping them and without an index."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from operator import eq, lt

#: More values are not looked at, so that memory stays bounded: eight bytes each, and a little for sorting.
MOST_VALUES = 1 << 20

#: Of a million marks an eighth is sorted at once, for which 32 bytes each are needed.
_RANGES = 8

#: The bytes of an id that make its mark: those that random ids, ids of clocks and counted ones differ in.
_MARKING = (0, 1, 2, 3, 13, 14, 15)
_ID_BYTES = 16
_MARK_BYTES = 8


def marks_of_texts(values: Sequence[str]) -> Iterator[float]:
    """Their hashes: different ones belong to different texts. As floats, for the sake of sorting.

    They are of 53 bits: of a million different texts two are told to be alike once in twenty thousand lists.
    """
    return map(float, map(hash, values))


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
    return array("d", parts)


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
        self._marks = _Marks()
        self._rising = True
        self._last = ""

    def add(self, values: Sequence[str]) -> None:
        """Take more values."""
        if not values:
            return
        if self._rising:
            if values[0] > self._last and all(map(lt, values, islice(values, 1, None))):
                self._last = values[-1]
                return
            self._rising = False
            earlier = islice(self._earlier(), MOST_VALUES + 1)
            while some := list(islice(earlier, 1000)):
                self._mark(some)
        self._mark(values)

    def are_surely(self) -> bool:
        """True = no value was there twice. False = perhaps one was, or there were too many to tell."""
        return len(self._marks) <= MOST_VALUES and self._marks.all_differ()

    def _mark(self, values: Sequence[str]) -> None:
        if len(self._marks) <= MOST_VALUES:
            self._marks.add(self._marks_of(values))


class _Marks:
    """Numbers, kept in a few ranges of about as many each, so that few have to be sorted at once."""

    def __init__(self) -> None:
        self._ranges = [array("d") for _ in range(_RANGES)]
        self._ends: list[float] = []  #: of each range but the last, by what was added first

    def __len__(self) -> int:
        return sum(map(len, self._ranges))

    def add(self, marks: Iterable[float]) -> None:
        """Take more of them, one at least."""
        ordered = array("d", sorted(marks))
        if not self._ends:
            self._ends = [ordered[len(ordered) * number // _RANGES] for number in range(1, _RANGES)]
        starts = [0, *(bisect_left(ordered, end) for end in self._ends), len(ordered)]
        for kept, (start, end) in zip(self._ranges, pairwise(starts), strict=True):
            kept.extend(ordered[start:end])

    def all_differ(self) -> bool:
        return not any(map(_has_one_twice, self._ranges))


def _has_one_twice(marks: Iterable[float]) -> bool:
    ordered = sorted(marks)
    return any(map(eq, ordered, islice(ordered, 1, None)))

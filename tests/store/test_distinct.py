"""Different values are known to differ, in whatever order; one that is there twice is never passed over."""

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchexport.store.sqlite import uniqueness
from batchexport.store.sqlite.uniqueness import Distinct, marks_of_ids, marks_of_texts

RISING = [f"{number:05d}" for number in range(1000)]
SHUFFLED = random.Random(1).sample(RISING, len(RISING))
RANDOM_IDS = [str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4)) for number in range(1000)]
COUNTED_IDS = [f"00000000-0000-4000-8000-{1000 - number:012x}" for number in range(1000)]
#: As clocks make them: the time is in the first bytes, all else is that of the machine.
CLOCK_IDS = [str(uuid.UUID(fields=(2**32 - 1 - number, 7, 4096 + 9, 128, 1, 5))) for number in range(1000)]


def surely(values: list[str], at_once: int = 7, *, marks_of: Callable[..., Any] = marks_of_texts) -> bool:
    taken: list[str] = []
    looked = Distinct(marks_of, lambda: iter(taken))
    for start in range(0, len(values), at_once):
        part = values[start : start + at_once]
        looked.add(part)
        taken += part
    return looked.are_surely()


@pytest.mark.parametrize("values", [[], ["one"], RISING, SHUFFLED, RISING[:500] + RISING[:499:-1]])
def test_different_values_are_known_to_differ(values: list[str]) -> None:
    assert surely(values)


@pytest.mark.parametrize("ids", [RANDOM_IDS, COUNTED_IDS, CLOCK_IDS], ids=["random", "counted", "clock"])
def test_different_ids_are_known_to_differ_however_they_were_made(ids: list[str]) -> None:
    assert surely(ids, marks_of=marks_of_ids)


@given(st.lists(st.text(), min_size=1), st.integers(0), st.integers(0), st.integers(1, 9))
def test_what_is_there_twice_is_never_passed_for_different(
    values: list[str], which: int, where: int, at_once: int
) -> None:
    values.insert(where % (len(values) + 1), values[which % len(values)])
    assert not surely(values, at_once)


@given(st.lists(st.uuids(), min_size=1), st.integers(0), st.integers(0), st.integers(1, 9))
def test_an_id_that_is_there_twice_is_never_passed_over(
    ids: list[uuid.UUID], which: int, where: int, at_once: int
) -> None:
    ids.insert(where % (len(ids) + 1), ids[which % len(ids)])
    assert not surely([str(each) for each in ids], at_once, marks_of=marks_of_ids)


@given(st.uuids(), st.lists(st.uuids()))
def test_an_id_has_one_mark_in_whatever_company(one: uuid.UUID, others: list[uuid.UUID]) -> None:
    (mark,) = marks_of_ids([str(one)])
    assert 2.0**-16 < mark < 2
    assert marks_of_ids([*map(str, others), str(one)])[-1] == mark


@pytest.mark.parametrize("values", [RISING, SHUFFLED])
@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_one_value_among_many_is_found_to_be_there_twice(values: list[str], place: int) -> None:
    assert not surely([*values, values[place]])


def test_of_more_values_than_are_kept_it_is_not_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniqueness, "MOST_VALUES", 500)
    assert surely(SHUFFLED[:500])
    assert not surely(SHUFFLED)
    assert not surely([*RISING, "00000"])
    assert surely(RISING)  # nothing is kept of values that rise

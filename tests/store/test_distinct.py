"""Different values are known to differ, in whatever order; one that is there twice is never passed over."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchexport.store import distinct
from batchexport.store.distinct import Distinct

RISING = [f"{number:05d}" for number in range(1000)]
SHUFFLED = random.Random(1).sample(RISING, len(RISING))


def surely(values: list[str], at_once: int = 7) -> bool:
    taken: list[str] = []
    looked = Distinct(lambda: iter(taken))
    for start in range(0, len(values), at_once):
        part = values[start : start + at_once]
        looked.add(part)
        taken += part
    return looked.are_surely()


@pytest.mark.parametrize("values", [[], ["one"], RISING, SHUFFLED, RISING[:500] + RISING[:499:-1]])
def test_different_values_are_known_to_differ(values: list[str]) -> None:
    assert surely(values)


@given(st.lists(st.text(), min_size=1), st.integers(0), st.integers(0), st.integers(1, 9))
def test_what_is_there_twice_is_never_passed_for_different(
    values: list[str], which: int, where: int, at_once: int
) -> None:
    values.insert(where % (len(values) + 1), values[which % len(values)])
    assert not surely(values, at_once)


@pytest.mark.parametrize("values", [RISING, SHUFFLED])
@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_one_value_among_many_is_found_to_be_there_twice(values: list[str], place: int) -> None:
    assert not surely([*values, values[place]])


def test_of_more_values_than_are_kept_it_is_not_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "MOST_VALUES", 500)
    assert surely(SHUFFLED[:500])
    assert not surely(SHUFFLED)
    assert not surely([*RISING, "00000"])
    assert surely(RISING)  # nothing is kept of values that rise

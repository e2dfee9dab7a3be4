import csv
import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from batchexport.errors import ConfigError
from batchexport.report.listing import ListFormat, Listing, Selection, folded, listing_lines
from batchexport.report.text import display_width

COLUMNS = ("volume_id", "volume_name", "size_gib")
RECORDS: list[Mapping[str, object]] = [
    {"volume_id": "v1", "volume_name": "数据库", "size_gib": 10},
    {"volume_id": "v2", "volume_name": "web", "size_gib": 9},
    {"volume_id": "v3", "volume_name": None},
]


def lines(form: ListFormat, **selection: Any) -> list[str]:
    return list(listing_lines(Listing(columns=COLUMNS, records=RECORDS), form, Selection(**selection)))


def test_a_table_counts_wide_characters() -> None:
    assert lines(ListFormat.TABLE) == [
        "VOLUME ID  VOLUME NAME  SIZE GIB",
        "v1         数据库       10",
        "v2         web          9",
        "v3",
    ]


def test_every_format_shows_the_chosen_columns_in_their_order() -> None:
    columns = ("size_gib", "Volume ID")
    assert lines(ListFormat.VALUE, columns=columns) == ["10 v1", "9 v2", " v3"]
    assert lines(ListFormat.CSV, columns=columns) == ["size_gib,volume_id", "10,v1", "9,v2", ",v3"]
    records = [
        {"size_gib": 10, "volume_id": "v1"},
        {"size_gib": 9, "volume_id": "v2"},
        {"size_gib": None, "volume_id": "v3"},
    ]
    assert json.loads("\n".join(lines(ListFormat.JSON, columns=columns))) == records
    assert yaml.safe_load("\n".join(lines(ListFormat.YAML, columns=columns))) == records


def test_numbers_are_sorted_as_numbers_and_what_is_missing_comes_last() -> None:
    def order(**selection: Any) -> list[str]:
        return lines(ListFormat.VALUE, columns=("volume_id",), **selection)

    assert order(sort_by=("size_gib",)) == ["v2", "v1", "v3"]
    assert order(sort_by=("volume_name",), descending=True)[1:] == ["v1", "v2"]


def test_an_empty_list_is_one_in_every_format() -> None:
    def empty(form: ListFormat) -> str:
        return "\n".join(listing_lines(Listing(columns=COLUMNS, records=[]), form, Selection()))

    assert json.loads(empty(ListFormat.JSON)) == yaml.safe_load(empty(ListFormat.YAML)) == []
    assert empty(ListFormat.VALUE) == ""
    assert empty(ListFormat.CSV) == "volume_id,volume_name,size_gib"


@pytest.mark.parametrize("kind", ["columns", "sort_by"])
def test_an_unknown_column_is_named_with_those_that_there_are(kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lines(ListFormat.TABLE, **{kind: ("sise",)})
    assert "'sise'" in str(caught.value) and caught.value.hint == "columns: volume_id, volume_name, size_gib"


def test_lines_of_a_csv_are_no_formulas_and_survive_quotes() -> None:
    listing = Listing(columns=("name",), records=[{"name": '=cmd("x"), y'}])
    text = "\n".join(listing_lines(listing, ListFormat.CSV, Selection()))
    assert list(csv.reader(text.splitlines()))[1] == ['\'=cmd("x"), y']


TEXT = st.text(alphabet="ab 数é", max_size=60)


@given(names=st.lists(TEXT, max_size=4), width=st.integers(30, 120))
def test_a_table_fits_the_terminal(names: list[str], width: int) -> None:
    listing = Listing(
        columns=("a", "b", "c"), records=[{"a": each, "b": each[::-1], "c": 1} for each in names]
    )
    for line in listing_lines(listing, ListFormat.TABLE, Selection(), width=width):
        assert display_width(line) <= width


@given(text=st.text(alphabet="ab 数\n", max_size=200), width=st.integers(8, 60))
@example(text="a" * 10, width=8)  # a word that is too long lost one character to each line
def test_folded_text_fits_and_loses_nothing(text: str, width: int) -> None:
    found = folded(text, width)
    assert all(display_width(line) <= width for line in found.split("\n"))
    assert "".join(found.split()) == "".join(text.split())
    assert folded(text, None) == text

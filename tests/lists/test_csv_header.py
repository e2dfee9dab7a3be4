from __future__ import annotations

import csv
from collections.abc import Callable

import pytest

from batchexport.lists.csv_text import csv_fault
from tests.lists.conftest import Reading

A = "16369c5d-384d-4e64-b37a-56d898769362"


@pytest.mark.parametrize("name", ["volume_id", "Volume_ID", " VOLUME ID ", "Volume-Id", "ID", "id"])
def test_the_spelling_of_a_header_is_forgiven(read: Callable[..., Reading], name: str) -> None:
    assert read(f"{name},image name\n{A},web\n").rows[0].volume_id == A


def test_the_apis_own_word_for_the_system_is_known(read: Callable[..., Reading]) -> None:
    assert read(f"volume_id,__os_type\n{A},linux\n").rows[0].options.os_type == "linux"


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("volumeid", "volume_id"),
        ("disk_fromat", "disk_format"),
        ("imagename", "image_name"),
        ("timeout_s", "timeout"),
    ],
)
def test_a_misspelled_header_is_met_with_the_right_one(
    read: Callable[..., Reading], name: str, column: str
) -> None:
    told = read(f"volume_id,{name}\n{A},\n").told
    assert told == [f'line 1, column 2: "{name}" is not known here; did you mean {column}?']


def test_a_header_like_nothing_known_is_met_with_all_there_are(read: Callable[..., Reading]) -> None:
    (problem,) = read(f"volume_id,owner\n{A},me\n").problems
    assert problem.message.startswith(
        "is not known here; known: volume_id, image_name, volume_name, disk_format,"
    )


def test_rows_under_an_unknown_column_are_still_checked(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,colour\nvol-7,red\n{A},blue\n")
    assert [problem.line for problem in reading.problems] == [1, 2]
    assert reading.job_list.rows == 2


def test_a_name_beside_a_volume_id_could_be_meant_for_the_image(read: Callable[..., Reading]) -> None:
    (problem,) = read(f"volume_id,Name\n{A},web\n").problems
    assert (problem.field, problem.value) == ("column 2", "Name")
    assert problem.message.startswith("could be the volume's name or the image's: call it volume_name or")


def test_a_column_named_twice_is_a_problem(read: Callable[..., Reading]) -> None:
    told = read(f"volume_id,image_name,ID\n{A},web,{A}\n").told
    assert told == ['line 1, column 3: "ID" duplicates another: column 1 is volume_id already']


def test_without_a_volume_id_column_reading_stops_and_tells_what_was_found(
    read: Callable[..., Reading],
) -> None:
    reading = read("# list\nvolume|name\na|b\nc|d\n")
    assert reading.told[-1] == (
        "line 2, volume_id: no such column; rename the one that holds the volume ids to volume_id; "
        'found: "volume, name"'
    )
    assert (reading.rows, reading.job_list.rows) == ([], 0)


def test_a_list_without_a_header_is_told_so(read: Callable[..., Reading]) -> None:
    told = read(f"{A},web\n{A},db\n").told
    assert told == [
        "line 1: is already a row; begin with a line that names the columns: volume_id,image_name, "
        "a name for each of its 2 cells"
    ]


def test_an_unclosed_quote_in_the_header_is_a_problem(read: Callable[..., Reading]) -> None:
    assert read(f'"volume_id,image_name\n{A},web\n').told == ["line 1: opens a quote that is never closed"]


def test_a_header_that_is_not_utf8_is_a_problem(read: Callable[..., Reading]) -> None:
    reading = read(b"volume_id,gr\xf6\xdfe\n" + f"{A},1\n".encode())
    (told,) = reading.told
    assert told.startswith("line 1: is not UTF-8: byte 0xF6; save the list as UTF-8")
    assert "--encoding" in told


def test_a_problem_in_the_header_stands_for_a_list_without_rows(read: Callable[..., Reading]) -> None:
    assert len(read("volume_id,colour\n").problems) == 1


def test_the_separator_is_the_one_that_makes_sense_of_the_names(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id;image_name;a,b,c,d\n{A};web;x\n")
    assert [row.image_name for row in reading.rows] == ["web"]


def test_quoted_headers_read_as_plain_ones(read: Callable[..., Reading]) -> None:
    reading = read(f'"volume_id";"image_name"\n"{A}";"a b"\n')
    assert [row.image_name for row in reading.rows] == ["a b"]


def test_words_of_the_csv_module_that_are_not_known_are_passed_on() -> None:
    assert csv_fault(csv.Error("line contains NUL")) == "is not CSV: line contains NUL"

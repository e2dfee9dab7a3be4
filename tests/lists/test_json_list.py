from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchexport.dialect import EVS
from batchexport.errors import JobListError
from batchexport.model import ImageOptions, TargetKey
from tests.lists.conftest import Reading

A = "16369c5d-384d-4e64-b37a-56d898769362"
B = "c5333daa-fbc8-4d1d-bf79-b0567bb45d15"
ACTION = "os-volume_upload_image"
DOCUMENTED = {
    "image_name": "sxmatch2",
    "force": True,
    "container_format": "bare",
    "disk_format": "vhd",
    "__os_type": "linux",
}

JSON_FORMATS: dict[str, Callable[[Any], str]] = {
    "array": json.dumps,
    "pretty array": lambda rows: json.dumps(rows, indent=2),
    "jobs": lambda rows: json.dumps({"jobs": rows}),
    "pretty jobs": lambda rows: json.dumps({"jobs": rows}, indent=2),
    "lines": lambda rows: "\n\n".join(map(json.dumps, rows)),
    "lines of windows": lambda rows: "\ufeff" + "\r\n".join(map(json.dumps, rows)) + "\r\n",
}


@pytest.fixture
def row_problems(read: Callable[..., Reading]) -> Callable[..., Any]:
    """The sentences about one JSON row, without the place."""
    return lambda row: [line.removeprefix("line 1") for line in read(json.dumps(row)).told]


@pytest.mark.parametrize("form", JSON_FORMATS)
def test_every_form_of_json_reads_the_same(read: Callable[..., Reading], form: str) -> None:
    rows = [
        {
            "volume_id": A,
            "image_name": "数据",
            "force": True,
            "timeout": "1h",
            "cloud": "otc",
            "region": None,
        },
        {"ID": B, "Name": "ignored", "Attached to": [], "disk_format": ""},
    ]
    reading = read(JSON_FORMATS[form](rows))
    assert reading.told == []
    first, second = reading.rows
    assert (first.volume_id, first.image_name, first.target) == (A, "数据", TargetKey("otc"))
    assert first.options == ImageOptions(force=True, timeout_s=3600.0)
    assert (second.volume_id, second.image_name, second.options) == (B, None, ImageOptions())
    assert reading.job_list.rows == 2


def test_the_line_of_an_element_is_its_number_in_the_array(read: Callable[..., Reading]) -> None:
    reading = read(json.dumps([{"volume_id": A}, {"volume_id": "vol-7"}], indent=2))
    assert [row.line for row in reading.rows] == [1]
    assert reading.told[0].startswith('element 2, volume_id: "vol-7" is not a UUID')


def test_the_line_of_a_json_line_is_its_line(read: Callable[..., Reading]) -> None:
    reading = read(f'{{"volume_id":"{A}"}}\n\n{{"volume_id":"vol-7"}}\n')
    assert reading.told[0].startswith('line 3, volume_id: "vol-7" is not a UUID')


def test_the_apis_own_object_is_taken_as_documented(read: Callable[..., Reading]) -> None:
    (row,) = read(json.dumps([{"volume_id": A, ACTION: DOCUMENTED}])).rows
    assert row.image_name == "sxmatch2"
    assert row.options == ImageOptions(
        disk_format="vhd", container_format="bare", force=True, os_type="linux"
    )


def test_saying_the_same_inside_and_outside_the_apis_object_is_fine(row_problems: Callable[..., Any]) -> None:
    assert (
        row_problems({"volume_id": A, "image_name": "sxmatch2", "os_type": "linux", ACTION: DOCUMENTED}) == []
    )


def test_saying_different_things_inside_and_outside_the_apis_object_is_a_problem(
    row_problems: Callable[..., Any],
) -> None:
    assert row_problems({"volume_id": A, "force": False, ACTION: DOCUMENTED}) == [
        ', force: "true" contradicts another value of the row: "false"'
    ]


@pytest.mark.parametrize("key", ["volume_id", "timeout", "cloud", "status", "colour"])
def test_what_the_api_does_not_know_has_no_place_in_its_object(
    row_problems: Callable[..., Any], key: str
) -> None:
    (told,) = row_problems({"volume_id": A, ACTION: {key: "x"}})
    assert told.startswith(f', {ACTION}: "{key}" does not belong in the API\'s object; allowed: image_name,')


def test_the_apis_object_must_be_an_object(row_problems: Callable[..., Any]) -> None:
    assert row_problems({"volume_id": A, ACTION: ["x"]}) == [
        f', {ACTION}: "["x"]" is not an object as the API takes it'
    ]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("volume_id", 7, '"7" is not a text; write it in quotes'),
        ("image_name", True, '"true" is not a text; write it in quotes'),
        ("disk_format", ["raw"], '"["raw"]" is not a text; write it in quotes'),
        ("force", 1, '"1" is neither yes nor no; allowed: true, false'),
        (
            "timeout",
            True,
            '"true" is not a duration; allowed: a text with a unit, as in "90s", "30m", "9h" or "2d"',
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_a_problem(
    row_problems: Callable[..., Any], column: str, value: list[str] | int, told: str
) -> None:
    assert row_problems({"volume_id": A, column: value}) == [f", {column}: {told}"]


def test_every_fault_of_a_row_is_told(read: Callable[..., Reading]) -> None:
    reading = read('[{"image_name": "a/b", "disk_format": 7, "colour": "red", "force": "perhaps"}]', EVS)
    assert [problem.field or problem.value for problem in reading.problems] == [
        "disk_format",
        "colour",
        "volume_id",
        "image_name",
        "force",
    ]
    assert reading.job_list.rows == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"volume_id": }', "is not JSON at byte 15 of the line: invalid character"),
        ('{"volume_id": "x', "is not JSON at byte 17 of the line: Input data was truncated"),
        (
            "[1]",
            'is not what a list holds: Expected `object`, got `array`; a row looks like {"volume_id": "…"}',
        ),
        ('{"force": ' + "[" * 5000 + "]" * 5000 + "}", "is nested too deeply to be a row"),
    ],
)
def test_a_line_that_is_no_json_object_is_a_problem_and_the_next_is_read(
    read: Callable[..., Reading], line: str, told: str
) -> None:
    reading = read(f'{{"volume_id":"{B}"}}\n{line}\n{{"volume_id":"{A}"}}\n')
    assert reading.told == [f"line 2: {told}"]
    assert [row.line for row in reading.rows] == [1, 3]


def test_json_that_is_not_utf8_is_told_with_its_byte(read: Callable[..., Reading]) -> None:
    reading = read(b'{"volume_id":"' + A.encode() + b'","image_name":"M\xfcller"}\n')
    assert reading.told[0].startswith("line 1: is not UTF-8: byte 0xFC; save the list as UTF-8")


def test_a_document_broken_in_the_middle_is_told_with_its_line(read: Callable[..., Reading]) -> None:
    reading = read(f'[\n  {{"volume_id": "{A}"}},\n  {{"volume_id": {B}}}\n]\n')
    assert reading.told[0].startswith("line 3: is not JSON at byte ")
    assert reading.job_list.rows == 0


def test_a_document_without_jobs_is_a_problem(read: Callable[..., Reading]) -> None:
    (told,) = read('{\n"rows": []\n}').told
    assert told.startswith('line 1: the document has no "jobs"; allowed: {"jobs": [...]}, {"volumes": [...]}')


def test_a_key_beside_jobs_is_a_problem_and_the_jobs_are_read(read: Callable[..., Reading]) -> None:
    reading = read(json.dumps({"version": 2, "jobs": [{"volume_id": A}]}))
    assert reading.told == ['line 1: "version" does not belong beside "jobs"; take it out']
    assert len(reading.rows) == 1


def test_jobs_that_are_no_array_are_a_problem(read: Callable[..., Reading]) -> None:
    assert "Expected `array`, got `object`" in read('{"jobs": {}}').told[0]


@pytest.mark.parametrize("document", ["[]", '{"jobs": []}', " [ ] "])
def test_an_array_without_rows_is_refused(read: Callable[..., Reading], document: str) -> None:
    with pytest.raises(JobListError, match="has no rows"):
        read(document)


def test_a_volume_that_is_said_to_have_no_name_is_not_one_of_which_nothing_is_said(
    read: Callable[..., Reading],
) -> None:
    rows = [
        {"volume_id": A, "volume_name": None},
        {"volume_id": B},
        {"ID": A.replace("1", "2"), "Name": "db"},
    ]
    assert [row.volume_name for row in read(json.dumps(rows)).rows] == ["", None, "db"]


def test_csv_tells_them_apart_too(read: Callable[..., Reading]) -> None:
    assert [row.volume_name for row in read(f"volume_id,volume_name\n{A},\n{B},db\n").rows] == ["", "db"]
    assert [row.volume_name for row in read(f"volume_id\n{A}\n").rows] == [None]
    assert [row.volume_name for row in read(f"ID,Name\n{A},db disk\n").rows] == ["db disk"]

"""Columns for properties and tags of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchexport.dialect import CINDER, EVS
from tests.lists.conftest import Reading

A = "16369c5d-384d-4e64-b37a-56d898769362"
B = "26369c5d-384d-4e64-b37a-56d898769362"
Read = Callable[..., Reading]


def test_a_column_of_its_own_for_each_property(read: Read) -> None:
    reading = read(f"volume_id,property:Team,Property:hw_disk_bus\n{A},storage,scsi\n{B},,virtio\n")
    assert not reading.problems
    first, second = reading.rows
    assert dict(first.options.properties or ()) == {"Team": "storage", "hw_disk_bus": "scsi"}
    assert dict(second.options.properties or ()) == {"hw_disk_bus": "virtio"}


def test_one_column_for_all_properties_and_one_for_tags(read: Read) -> None:
    reading = read(f'volume_id,image_properties,tags\n{A},a=1; b=2,nightly;gold\n{B},"{{""c"": ""3""}}",\n')
    assert not reading.problems
    first, second = reading.rows
    assert first.options.properties == (("a", "1"), ("b", "2"))
    assert first.options.tags == ("nightly", "gold")
    assert (second.options.properties, second.options.tags) == ((("c", "3"),), None)


def test_a_property_of_its_own_goes_over_the_one_among_others(read: Read) -> None:
    (row,) = read(f"volume_id,image_properties,property:a\n{A},a=1;b=2,3\n").rows
    assert dict(row.options.properties or ()) == {"a": "3", "b": "2"}


@pytest.mark.parametrize(
    ("header", "cell", "words"),
    [
        ("property:a/b", "x", "is not a property: 'a/b' is not a key"),
        ("property:", "x", "is not a property"),
        ("property:status", "x", "not for users to set"),
        ("property:a", "x" * 300, "up to 255 characters"),
        ("image_properties", "a", "not KEY=VALUE"),
        ("image_properties", "status=1", "not for users"),
        ("image_tags", "x" * 256, "is not a tag"),
    ],
)
def test_what_is_none_is_told_with_its_line_and_column(
    read: Read, header: str, cell: str, words: str
) -> None:
    reading = read(f"volume_id,{header}\n{A},{cell}\n")
    assert not [row for row in reading.rows if row.options.properties or row.options.tags]
    assert any(words in problem.message for problem in reading.problems)


def test_a_property_may_stand_once(read: Read) -> None:
    reading = read(f"volume_id,property:a,property: a \n{A},1,2\n")
    assert "duplicates another" in reading.problems[0].message


def test_evs_takes_properties_and_no_tags(read: Read) -> None:
    assert not read(f"volume_id,image_tags\n{A},x\n", CINDER).problems
    assert not read(f"volume_id,property:a\n{A},x\n", EVS).problems
    (problem,) = read(f"volume_id,image_tags\n{A},x\n", EVS).problems
    assert "is not taken by a cloud of the family evs" in problem.message


def test_the_tags_of_a_tools_list_are_the_volumes(read: Read) -> None:
    (row,) = read(f"id,name,tags\n{A},db,backup\n").rows
    assert row.options.tags is None
    (row,) = read(f"id,name,image_tags\n{A},db,backup\n").rows
    assert row.options.tags == ("backup",)


def test_json_takes_objects_arrays_and_texts(read: Read) -> None:
    rows: list[dict[str, Any]] = [
        {"volume_id": A, "image_properties": {"a": "1"}, "property:b": "2", "tags": ["x", "y"]},
        {"volume_id": B, "image_properties": "a=1", "property:b": None, "image_tags": "x;y"},
    ]
    reading = read(json.dumps(rows))
    assert not reading.problems
    first, second = reading.rows
    assert dict(first.options.properties or ()) == {"a": "1", "b": "2"}
    assert first.options.tags == second.options.tags == ("x", "y")
    assert dict(second.options.properties or ()) == {"a": "1"}


@pytest.mark.parametrize(
    "entry",
    [
        {"property:a": 5},
        {"image_properties": {"a": 5}},
        {"image_properties": {"a": 5}, "property:b": "x"},
        {"image_properties": 5},
        {"image_tags": 5},
        {"image_tags": ["x" * 300]},
        {"property:a/b": "x"},
    ],
    ids=str,
)
def test_json_of_another_kind_is_refused(read: Read, entry: dict[str, Any]) -> None:
    reading = read(json.dumps([{"volume_id": A, **entry}]))
    assert reading.problems

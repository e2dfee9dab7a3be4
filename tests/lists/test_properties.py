from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from batchexport.dialect import CINDER, EVS
from batchexport.errors import JobListError
from batchexport.model import JobRow
from tests.lists.conftest import Reading

COLUMNS = ("volume_id", "image_name", "disk_format", "force", "timeout", "cloud", "project")
EVS_LETTERS = "abcXYZ019.-_ 数据盘㐀"

volume_ids = st.integers(min_value=0, max_value=2**128 - 1).map(lambda number: str(UUID(int=number)))
evs_names = st.text(EVS_LETTERS, min_size=1, max_size=128).filter(lambda name: name == name.strip(" "))
cinder_names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255).filter(
    lambda name: not name.startswith("#")
)
places = st.text("abc-é数 ", max_size=20).map(str.strip)


def rows_with(names: SearchStrategy[Any], formats: tuple[str, ...]) -> SearchStrategy[Any]:
    row = st.fixed_dictionaries(
        {
            "volume_id": volume_ids,
            "image_name": names | st.just(""),
            "disk_format": st.sampled_from(("", *formats)),
            "force": st.sampled_from(["", "true", "false"]),
            "timeout": st.sampled_from(["", "90s", "9h"]),
            "cloud": places,
            "project": places,
        }
    )
    return st.lists(row, min_size=1, max_size=8)


def as_csv(rows: list[dict[str, str]], separator: str = ",", line_end: str = "\n") -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, delimiter=separator, lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


WRITERS: dict[str, Callable[[Any], str]] = {
    "csv": as_csv,
    "excel": lambda rows: "\ufeff" + as_csv(rows, ";", "\r\n"),
    "tabs": lambda rows: as_csv(rows, "\t"),
    "json": json.dumps,
    "jobs": lambda rows: json.dumps({"jobs": rows}, ensure_ascii=False, indent=1),
    "json lines": lambda rows: "\n".join(map(json.dumps, rows)),
}


def as_said(row: JobRow) -> dict[str, str]:
    """A row that was read, in the words of the list."""
    force = {None: "", True: "true", False: "false"}[row.options.force]
    return {
        "volume_id": row.volume_id,
        "image_name": row.image_name or "",
        "disk_format": row.options.disk_format or "",
        "force": force,
        "timeout": {None: "", 90.0: "90s", 32_400.0: "9h"}[row.options.timeout_s],
        "cloud": row.target.cloud or "",
        "project": row.target.project or "",
    }


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=40, deadline=None)
@given(rows=rows_with(evs_names, EVS.disk_formats))
def test_any_valid_list_reads_back_as_it_was_written(
    read: Callable[..., Reading], form: str, rows: list[dict[str, str]]
) -> None:
    reading = read(WRITERS[form](rows), EVS)
    assert reading.told == []
    assert [as_said(row) for row in reading.rows] == rows


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=40, deadline=None)
@given(rows=rows_with(cinder_names, CINDER.disk_formats))
def test_any_name_that_cinder_takes_reads_back_as_it_was_written(
    read: Callable[..., Reading], form: str, rows: list[dict[str, str]]
) -> None:
    reading = read(WRITERS[form](rows), CINDER)
    assert reading.told == []
    assert [as_said(row) for row in reading.rows] == rows


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=400)
    | st.text('volume_id,;\t"{}[]:\n\r\0#\ufeff09af-', max_size=200).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
)
def test_no_bytes_at_all_are_read_without_a_word(read: Callable[..., Reading], content: bytes) -> None:
    try:
        reading = read(content)
    except JobListError:
        return
    assert reading.problems or reading.rows


GOOD = {
    "csv": "volume_id,image_name,disk_format\n"
    + "".join(f"{UUID(int=number)},disk-{number},raw\n" for number in range(1, 6)),
    "json": json.dumps([{"volume_id": str(UUID(int=number)), "force": True} for number in range(1, 6)]),
    "json lines": "".join(f'{{"volume_id":"{UUID(int=number)}"}}\n' for number in range(1, 6)),
}


def spoilt(text: str, seed: int) -> bytes:
    """The list with one id made impossible: by a byte that fits nowhere, or by a piece torn out."""
    draw = random.Random(seed)
    raw = text.encode()
    number = draw.randint(1, 5)
    start = raw.index(str(UUID(int=number)).encode())
    place = start + draw.randrange(36)
    if seed % 2:
        return raw[:place] + bytes([draw.choice(b"\x00\x07\x1b\xe4\xff\xc3xyz{[,")]) + raw[place:]
    return raw[:place] + raw[place + draw.randint(1, start + 36 - place) :]


@pytest.mark.parametrize("form", GOOD)
@pytest.mark.parametrize("seed", range(70))
def test_a_spoilt_list_always_has_a_problem(read: Callable[..., Reading], form: str, seed: int) -> None:
    reading = read(spoilt(GOOD[form], seed))
    assert reading.problems
    assert all(str(problem).isprintable() for problem in reading.problems)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(min_value=1, max_value=len(GOOD["json"]) - 1))
def test_a_json_list_that_was_cut_off_is_never_taken_for_whole(
    read: Callable[..., Reading], cut: int
) -> None:
    assert read(GOOD["json"][:cut]).problems

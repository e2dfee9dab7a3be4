"""Rows that are looked at together: the same rows and problems as one by one, whatever stands among them."""

from pathlib import Path
from typing import Any

import pytest

from batchexport.lists import JobList, csv_list, source
from batchexport.model import JobRows

GOOD = "{:08d}-0000-4000-8000-000000000000,name-{},raw"
ODD = {
    "nothing": GOOD.format(99, 99),
    "a comment": "# by hand",
    "a blank line": "",
    "a line of blanks": " , , ",
    "capitals": "ABCDEFAB-0000-4000-8000-000000000000,name,raw",
    "other options": GOOD.format(99, 99).replace("raw", "vhd"),
    "a wrong option": GOOD.format(99, 99).replace("raw", "floppy"),
    "no name": "00000099-0000-4000-8000-000000000000,,raw",
    "a wrong name": "00000099-0000-4000-8000-000000000000,a/b,raw",
    "no id": "vol-7,name,raw",
    "too few cells": "00000099-0000-4000-8000-000000000000,name",
    "a cell too many, then one too few": (
        "00000099-0000-4000-8000-000000000000,name,raw,00000098-0000-4000-8000-000000000000\nname,raw"
    ),
    "a quoted cell": '00000099-0000-4000-8000-000000000000,"name",raw',
    "an unusual line end": "00000099-0000-4000-8000-000000000000,name,raw\r",
    "nothing between": "\n\n",
    "two lines": '00000099-0000-4000-8000-000000000000,"na\nme",raw',
    "a torn quote": '00000099-0000-4000-8000-000000000000,"na"me,raw',
    "a lost byte": "00000099-0000-4000-8000-000000000000,na\udcffme,raw",
}
HEADERS = {
    "id first": ("volume_id,image_name,disk_format", lambda line: line),
    "id last": (
        "disk_format,image_name,volume_id",
        lambda line: ",".join(reversed(line.split(","))) if line.count(",") == 2 else line,
    ),
}


LINE_ENDS = ["\n", "\r\n", "\r"]
#: How the rows are taken: pieces of the list, records that the csv module parted, and these one by one.
IN_PIECES, TOGETHER, SINGLY = (300, 131_072, 10), (300, 0, 10), (65_536, 0, 1)


def read_by(monkeypatch: pytest.MonkeyPatch, way: tuple[int, ...], path: Path) -> tuple[JobList, list[Any]]:
    """What is read of the list; its first piece tells what kind of file it is, and is left as it is."""
    piece_bytes, longest_piece, at_once = way
    monkeypatch.setattr(source, "_PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(csv_list, "_LONGEST_PIECE", longest_piece)
    monkeypatch.setattr(csv_list, "_AT_ONCE", at_once)
    jobs = JobList(path)
    return jobs, list(jobs)


@pytest.mark.parametrize("line_end", LINE_ENDS, ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("odd", ODD)
def test_the_rows_are_those_that_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str, header: str, line_end: str
) -> None:
    names, turned = HEADERS[header]
    lines = [GOOD.format(number, number) for number in range(30)]
    lines.insert(17, ODD[odd])
    text = line_end.join([names, *map(turned, lines)])
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    singly, wanted = read_by(monkeypatch, SINGLY, path)
    assert len(wanted) >= 29
    for way in (IN_PIECES, TOGETHER):
        jobs, found = read_by(monkeypatch, way, path)
        assert found == wanted
        assert (jobs.rows, jobs.sha256) == (singly.rows, singly.sha256)


@pytest.mark.parametrize(
    ("header", "behind_the_id"),
    [
        ("volume_id", ""),
        ("volume_id,volume_name", ",db {0}"),
        ("volume_id,image_name", ","),
        ("ID;Name", ";db {0}"),
    ],
)
def test_lists_without_names_of_images_are_the_same_in_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, behind_the_id: str
) -> None:
    line = "{0:08d}-0000-4000-8000-000000000000" + behind_the_id
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *map(line.format, range(25)), ""]))
    singly, wanted = read_by(monkeypatch, SINGLY, path)
    pieces, found = read_by(monkeypatch, IN_PIECES, path)
    assert found == wanted
    assert (pieces.rows, len(found)) == (singly.rows, 25)
    assert all(row.image_name is None for row in found)


def test_what_is_right_comes_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["volume_id,image_name,disk_format", *(GOOD.format(n, n) for n in range(25))]))
    parts: list[Any] = list(JobList(path).chunks())
    assert [type(part) for part in parts] == [JobRows] * 2
    assert [(len(part), part.first_line) for part in parts] == [(24, 2), (1, 26)]  # it has no line end
    monkeypatch.setattr(csv_list, "_LONGEST_PIECE", 0)
    monkeypatch.setattr(csv_list, "_AT_ONCE", 10)
    parts = list(JobList(path).chunks())
    assert [type(part) for part in parts] == [JobRows] * 4
    assert [(len(part), part.first_line) for part in parts] == [(10, 2), (10, 12), (4, 22), (1, 26)]
    assert [row.line for row in parts[2]] == [22, 23, 24, 25]

"""Rows that are looked at together: the same rows and problems as one by one, whatever stands among them."""

import pytest

from batchexport.joblist import JobList, csv_list
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


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("odd", ODD)
def test_the_rows_are_those_that_are_read_one_by_one(tmp_path, monkeypatch, odd, header):
    names, turned = HEADERS[header]
    lines = [GOOD.format(number, number) for number in range(30)]
    lines.insert(17, ODD[odd])
    text = "\n".join([names, *map(turned, lines)])
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setattr(csv_list, "_AT_ONCE", 10)
    together = JobList(path)
    found = list(together)
    monkeypatch.setattr(csv_list, "_AT_ONCE", 1)
    singly = JobList(path)
    assert found == list(singly)
    assert (together.rows, together.sha256) == (singly.rows, singly.sha256)
    assert len(found) >= 29


def test_what_is_right_comes_in_one_piece(tmp_path, monkeypatch):
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["volume_id,image_name,disk_format", *(GOOD.format(n, n) for n in range(25))]))
    monkeypatch.setattr(csv_list, "_AT_ONCE", 10)
    parts = list(JobList(path).parts())
    assert [type(part) for part in parts] == [JobRows] * 3
    assert [(len(part), part.first_line) for part in parts] == [(10, 2), (10, 12), (5, 22)]
    assert [row.line for row in parts[2]] == [22, 23, 24, 25, 26]

"""Lists in Excel workbooks, as openpyxl (`disks.xlsx`) and XlsxWriter (`options.xlsx`) save them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.lists import workbook
from tests.lists.conftest import Reading

pytest.importorskip("python_calamine")

FILES = Path(__file__).parent / "files"
IDS = [
    "16369c5d-384d-4e64-b37a-56d898769362",
    "c5333daa-fbc8-4d1d-bf79-b0567bb45d15",
    "7f0a3c52-6f0f-4a51-93c3-0d9c7f1e2b64",
]


def changed(name: str, part: str, text: Callable[[bytes], bytes]) -> bytes:
    """A workbook one of whose parts is another."""
    there = io.BytesIO()
    with zipfile.ZipFile(FILES / name) as old, zipfile.ZipFile(there, "w", zipfile.ZIP_DEFLATED) as new:
        for each in old.namelist():
            content = old.read(each)
            new.writestr(each, text(content) if each == part else content)
    return there.getvalue()


def test_the_first_sheet_is_read_as_the_console_exports_it(read: Callable[..., Reading]) -> None:
    reading = read((FILES / "disks.xlsx").read_bytes())
    assert reading.told == []
    assert [(row.line, row.volume_id, row.volume_name) for row in reading.rows] == [
        (2, IDS[0], "web 1"),
        (3, IDS[1], "1234"),
        (5, IDS[2], "数据 盘"),
    ]


def test_yes_no_and_numbers_are_taken_as_they_are_meant(read: Callable[..., Reading]) -> None:
    first, second = read((FILES / "options.xlsx").read_bytes()).rows
    assert (first.image_name, first.options.protected, first.options.timeout_s) == ("web", True, 90.0)
    assert (second.image_name, second.options.protected, second.options.timeout_s) == ("db", False, 32_400.0)


def test_a_wrong_cell_is_told_with_its_row(read: Callable[..., Reading]) -> None:
    spoilt = changed("options.xlsx", "xl/sharedStrings.xml", lambda text: text.replace(b"9h", b"9 years"))
    (told,) = read(spoilt).told
    assert told.startswith('line 3, timeout: "9 years" is not a duration')


def test_what_unpacks_to_too_much_is_refused(
    read: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "MAX_UNPACKED_BYTES", 2**20)
    bomb = changed("options.xlsx", "xl/styles.xml", lambda text: text + b" " * 2**21)
    assert len(bomb) < 10_000
    assert read(bomb).told == ["line 1: the file unpacks to more than 1,048,576 bytes"]


@pytest.mark.parametrize("quote", [b'"', b"'"])
def test_two_cells_that_span_billions_are_refused(read: Callable[..., Reading], quote: bytes) -> None:
    far = changed(
        "options.xlsx",
        "xl/worksheets/sheet1.xml",
        lambda text: text.replace(b'r="D3"', b"r=" + quote + b"XFD1048576" + quote),
    )
    assert read(far).told == ["line 1: the file spans 1,048,576 rows and 16,384 columns; is it a list?"]


@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_a_workbook_that_was_cut_off_is_named(read: Callable[..., Reading], keep: float) -> None:
    content = (FILES / "disks.xlsx").read_bytes()
    assert "cannot be read" in read(content[: int(len(content) * keep)]).told[0]


def test_another_archive_is_named(read: Callable[..., Reading]) -> None:
    there = io.BytesIO()
    with zipfile.ZipFile(there, "w") as archive:
        archive.writestr("volumes.csv", "volume_id\n")
    assert "is a zip archive, and no Excel workbook" in read(there.getvalue()).told[0]


def test_without_the_extra_it_is_said_how_to_get_it(
    read: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    (told,) = read((FILES / "disks.xlsx").read_bytes()).told
    assert "pip install 'batchexport[xlsx]'" in told

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from batchexport.errors import JobListError
from batchexport.lists import JobList, Problem, sha256_of
from tests.lists.conftest import Reading

A = "16369c5d-384d-4e64-b37a-56d898769362"


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeffvolume_id\r\n{A}\r\n",
        "volume_id\nvol-7\n",
        "name\nnone\n" * 50_000,
        f'{{"volume_id":"{A}"}}\n',
        f'[{{"volume_id":"{A}"}}]',
    ],
    ids=["good", "bad", "given up at the header", "json lines", "json"],
)
def test_the_hash_is_that_of_the_whole_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(content.encode())
    job_list = JobList(path)
    list(job_list)
    assert job_list.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == sha256_of(str(path))


def test_standard_input_is_read_by_default_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(f"volume_id\n{A}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    job_list = JobList("-")
    assert [row.volume_id for row in job_list] == [A]
    assert job_list.name == "<stdin>"
    assert not stdin.closed


def test_problems_name_the_list_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "march.csv").write_text("volume_id\nvol-7\n")
    (problem,) = JobList("march.csv")
    assert isinstance(problem, Problem)
    assert problem.source == "march.csv"


@pytest.mark.parametrize("read_it", [lambda path: list(JobList(path)), sha256_of])
def test_a_missing_list_is_told_as_missing(tmp_path: Path, read_it: Callable[..., Any]) -> None:
    with pytest.raises(JobListError, match=r"none\.csv: no such job list") as caught:
        read_it(tmp_path / "none.csv")
    assert "standard input" in (caught.value.hint or "")


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(JobListError, match="is a folder"):
        list(JobList(tmp_path))


def test_a_path_through_a_file_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobListError, match="cannot be read: Not a directory"):
        list(JobList(tmp_path / "file" / "list.csv"))


def test_a_path_that_no_system_has_is_unreadable() -> None:
    with pytest.raises(JobListError, match="cannot be read: embedded null byte"):
        list(JobList("a\0b.csv"))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n \r\n"])
def test_an_empty_list_is_refused(read: Callable[..., Reading], content: bytes) -> None:
    with pytest.raises(JobListError, match="is empty"):
        read(content)


class FailingDisk(io.RawIOBase):
    """A file of which only the first 100 KiB can be read."""

    def __init__(self) -> None:
        self._file = io.BytesIO(f"volume_id\n{A}\n".encode() * 4000)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._file.tell() > 102_400:
            raise OSError(5, "Input/output error")
        return self._file.readinto(buffer)


def test_a_disk_that_fails_half_way_is_told() -> None:
    rows = iter(JobList("-", stdin=io.BufferedReader(FailingDisk())))
    with pytest.raises(JobListError, match="<stdin>: cannot be read: Input/output error"):
        list(rows)


UTF16 = f"volume_id\timage_name\r\n{A}\tweb\r\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (UTF16.encode("utf-32"), "is encoded as UTF-32"),
        (UTF16.encode("utf-16-le"), "is encoded as UTF-16 without a byte order mark"),
        (UTF16.encode("utf-16-be"), "is encoded as UTF-16 without a byte order mark"),
        (b"PK\x03\x04\x14\x00", "is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook"),
        (gzip.compress(b"volume_id\n", mtime=0), "is compressed with gzip"),
    ],
)
def test_a_file_of_another_kind_is_named(read: Callable[..., Reading], content: bytes, told: str) -> None:
    reading = read(content)
    assert len(reading.problems) == 1
    assert reading.told[0].startswith(f"line 1: the file {told}")


@pytest.mark.parametrize(
    ("start", "line"),
    [(b"", 1), (b"volume_id\n\n", 3), (f'{{"volume_id":"{A}"}}\n'.encode(), 2)],
    ids=["header", "row", "json line"],
)
def test_a_line_without_end_is_given_up(read: Callable[..., Reading], start: bytes, line: int) -> None:
    reading = read(start + b"x" * 3_000_000)
    assert reading.told == [
        f"line {line}: is longer than 1,048,576 bytes: this is not a row; the rest was not read"
    ]
    assert reading.job_list.sha256 == hashlib.sha256(start + b"x" * 3_000_000).hexdigest()


def test_rows_that_cross_the_pieces_read_at_once_are_whole(read: Callable[..., Reading]) -> None:
    for line_end in ("\n", "\r\n", "\r"):
        ids = [str(UUID(int=number)) for number in range(5000)]
        reading = read(line_end.join(["volume_id,image_name", *(f"{one},盘" for one in ids)]))
        assert [row.volume_id for row in reading.rows] == ids
        assert [row.line for row in reading.rows] == list(range(2, 5002))


@pytest.mark.slow
@pytest.mark.parametrize("json_lines", [False, True])
def test_memory_does_not_grow_with_the_list(tmp_path: Path, json_lines: bool) -> None:
    path = tmp_path / "long"
    with path.open("w") as file:
        file.write("" if json_lines else "volume_id,image_name\n")
        for number in range(30_000 if json_lines else 200_000):
            volume_id = UUID(int=number)
            text = f'{{"volume_id":"{volume_id}"}}' if json_lines else f"{volume_id},disk-{number}"
            file.write(text + "\n")
    job_list = JobList(path)
    tracemalloc.start()
    try:
        good = sum(not isinstance(item, Problem) for item in job_list)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert good == job_list.rows == (30_000 if json_lines else 200_000)
    assert peak < 2_000_000

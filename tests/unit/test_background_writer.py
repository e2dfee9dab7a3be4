import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchexport.background_writer import BackgroundWriter, DescriptorSink, FileSink, drain_all


class StuckSink:
    """A reader who takes nothing until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.taken: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.go.wait(10)
        self.taken.append(data)

    def close(self) -> None:
        pass


class FailingSink(StuckSink):
    """A disk that is full until it is not."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.error: OSError | None = OSError(number, os.strerror(number))

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(data)


def writer_to(sink: FileSink | DescriptorSink | StuckSink, **options: Any) -> BackgroundWriter:
    return BackgroundWriter(sink, dropped=lambda count: f"{count} lost\n", **options)


def test_text_arrives_whole_and_in_order(tmp_path: Path) -> None:
    writer = writer_to(FileSink(tmp_path / "ev"))
    for number in range(1000):
        writer.write(f"{number}\n")
    writer.close()
    assert (tmp_path / "ev").read_text().split() == [str(number) for number in range(1000)]


def test_a_stuck_reader_holds_nobody_up_and_what_is_lost_is_counted() -> None:
    sink = StuckSink()
    writer = writer_to(sink, max_bytes=100)
    began = time.monotonic()
    for _ in range(1000):
        writer.write("a line\n")
    assert time.monotonic() - began < 5
    sink.go.set()
    writer.close()
    lines = b"".join(sink.taken).decode().splitlines()
    lost = sum(int(line.split()[0]) for line in lines if line.endswith("lost"))
    assert lost > 0 and lines.count("a line") + lost == 1000


def test_closing_waits_for_a_stuck_reader_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchexport.background_writer.CLOSE_S", 0.1)
    writer = writer_to(StuckSink())
    writer.write("a line\n")
    writer.drain(0.1)
    drain_all(0.1)


def test_a_reader_who_went_away_is_told_at_the_next_write() -> None:
    reader, end = os.pipe()
    os.close(reader)
    writer = writer_to(DescriptorSink(end))
    writer.write("a line\n")
    writer.drain(5)
    with pytest.raises(BrokenPipeError):
        writer.write("another\n")
    writer.close()
    os.close(end)


def test_trouble_is_told_once_and_what_was_lost_when_it_is_over() -> None:
    told: list[str] = []
    sink = FailingSink(errno.ENOSPC)
    writer = writer_to(sink, trouble=told.append)
    for _ in range(3):
        writer.write("lost\n")
        writer.drain(5)
    sink.error = None
    writer.write("kept\n")
    writer.close()
    assert len(told) == 1
    assert b"".join(sink.taken) == b"kept\n3 lost\n"


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    now = [0.0]
    sink = FileSink(tmp_path / "ev", clock=lambda: now[0])
    sink.write(b"one\n")
    (tmp_path / "ev").rename(tmp_path / "ev.1")
    now[0] = 5.0
    sink.write(b"two\n")
    (tmp_path / "ev").rename(tmp_path / "ev.2")
    (tmp_path / "ev").touch()
    now[0] = 10.0
    sink.write(b"three\n")
    sink.close()
    assert [(tmp_path / name).read_text() for name in ("ev.1", "ev.2", "ev")] == ["one\n", "two\n", "three\n"]


def test_a_pipe_without_a_reader_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no process reads from this pipe"):
        FileSink(tmp_path / "pipe")


def test_after_half_a_line_the_next_one_begins_on_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FileSink(tmp_path / "ev")
    written: Iterator[int | OSError] = iter([3, OSError(errno.ENOSPC, "full")])
    real = os.write

    def half(descriptor: int, data: memoryview) -> int:
        step = next(written, None)
        if isinstance(step, OSError):
            raise step
        return real(descriptor, data[:step])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError):
        sink.write(b"first\n")
    sink.write(b"second\n")
    sink.close()
    assert (tmp_path / "ev").read_text() == "fir\nsecond\n"


def test_no_state_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE run (run_id TEXT)")
    before = path.read_bytes()
    with pytest.raises(OSError, match="it is a state file"):
        FileSink(path)
    assert path.read_bytes() == before

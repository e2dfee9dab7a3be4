import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.errors import StateError
from batchexport.files import write_whole


def test_text_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    for text in ("first\n", "größer\n"):
        write_whole(path, [text])
        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    path.mkdir()
    with pytest.raises(OSError):
        write_whole(path, ["new"])
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_off_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    def parts() -> Iterator[str]:
        yield "half"
        raise StateError("damaged")

    path = tmp_path / "a.csv"
    write_whole(path, ["whole"])
    with pytest.raises(StateError):
        write_whole(path, parts())
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a.prom", ["new"])


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    real, link, second = tmp_path / "deep" / "real.html", tmp_path / "link.html", tmp_path / "second.html"
    real.write_text("old")
    link.symlink_to("deep/real.html")
    second.symlink_to(link)
    write_whole(second, ["new"])
    assert real.read_text() == "new"
    assert link.is_symlink() and second.is_symlink() and not real.is_symlink()


def test_the_file_that_a_link_names_is_made(tmp_path: Path) -> None:
    link = tmp_path / "link.html"
    link.symlink_to("not-there-yet.html")
    write_whole(link, ["new"])
    assert link.is_symlink() and (tmp_path / "not-there-yet.html").read_text() == "new"


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError):
        write_whole(tmp_path / "a", ["new"])
    assert (tmp_path / "a").is_symlink()


def test_a_link_of_another_user_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "link").symlink_to("target")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if (tmp_path / "link").lstat().st_uid == 0:
        os.chown(tmp_path / "link", 4321, -1, follow_symlinks=False)
    with pytest.raises(PermissionError, match="another user"):
        write_whole(tmp_path / "link", ["new"])
    assert (tmp_path / "target").read_text() == "theirs"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, ["one ", "two"])
    assert os.read(reader, 100) == b"one two"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no process reads from this pipe"):
        write_whole(tmp_path / "pipe", ["new"])


def test_a_pipe_that_is_full_is_no_wait_for_who_cannot(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        write_whole(pipe, ["x" * 1_000_000], wait=False)
    os.close(reader)


def test_a_device_is_written_to_and_stays_one() -> None:
    screen, terminal = os.openpty()
    path = Path(os.ttyname(terminal))
    write_whole(path, ["new"])
    assert os.read(screen, 100) == b"new"
    assert stat.S_ISCHR(path.stat().st_mode)
    os.close(terminal)
    os.close(screen)


def test_a_link_to_an_open_file_of_this_process_is_written_through(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{writer}")
    write_whole(tmp_path / "stdout", ["new"])
    assert os.read(reader, 100) == b"new"
    assert (tmp_path / "stdout").is_symlink()
    os.close(reader)
    os.close(writer)


def test_what_is_planted_beside_it_is_never_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_text("precious")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0")
    (tmp_path / ".a.prom.0.new").symlink_to("victim")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a.prom", ["new"])
    assert (tmp_path / "victim").read_text() == "precious"


def test_permissions_are_those_asked_for_whatever_the_umask_or_those_of_the_file_before(
    tmp_path: Path,
) -> None:
    path, before = tmp_path / "a.prom", os.umask(0o077)
    try:
        write_whole(path, ["new"], mode=0o644)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        path.chmod(0o640)
        write_whole(path, ["newer"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_text_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append((tmp_path / "a").exists()))
    write_whole(tmp_path / "a", ["new"])
    assert seen == [False, True]  # the file before the rename, its folder after it

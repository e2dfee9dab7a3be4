"""The disk of the state file is full: nothing is lost, nothing is sent twice, and the exit code says it."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.cloud import Cloud
from tests.attack.program import QUICK, Program, finish, until, write_list

ROWS = 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a disk that can be filled needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """The file that takes all that is left of the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for piece in (4096, 1):
            try:
                while True:
                    file.write(bytes(piece))
            except OSError:
                pass
    return filler


class FullAfter:
    """Fills the disk when so many exports were asked for."""

    def __init__(self, disk: Path, exports: int) -> None:
        self.disk, self.exports, self.asked = disk, exports, 0

    def __call__(self, kind: str, _: str) -> None:
        if kind == "export":
            self.asked += 1
            if self.asked == self.exports:
                fill(self.disk)


def words(disk: Path) -> list[str]:
    return ["run", "v.csv", "--state", str(disk / "v.state"), *QUICK, "-j", "4"]


@pytest.fixture
def volumes(program: Program) -> list[str]:
    return write_list(program.folder / "v.csv", ROWS)


def test_a_disk_that_stays_full_stops_the_claims_and_ends_the_run_with_74(
    program: Program, quiet_cloud: Cloud, small_disk: Path, volumes: list[str]
) -> None:
    quiet_cloud.lie = FullAfter(small_disk, 20)
    ended = program.run(*words(small_disk), driver="short_grace.py", extra={"GRACE_S": "1"}).check(74)
    assert "full" in ended.err
    assert "hint:" in ended.err
    # Of four senders twelve jobs may be unanswered; as many more may be claimed while the disk fills up.
    assert len(quiet_cloud.exports) <= 20 + 2 * 12


def test_after_a_full_disk_the_same_command_makes_exactly_one_image_of_each(
    program: Program, quiet_cloud: Cloud, small_disk: Path, volumes: list[str]
) -> None:
    quiet_cloud.lie = FullAfter(small_disk, 20)
    program.run(*words(small_disk), driver="short_grace.py", extra={"GRACE_S": "0.3"}).check(74)
    (small_disk / "filler").unlink()
    program.run(*words(small_disk)).check(0)
    assert quiet_cloud.exports == dict.fromkeys(volumes, 1)


def test_a_disk_that_heals_in_time_is_only_a_delay(
    program: Program, quiet_cloud: Cloud, small_disk: Path, volumes: list[str]
) -> None:
    quiet_cloud.lie = FullAfter(small_disk, 20)
    process = program.start(*words(small_disk), driver="short_grace.py", extra={"GRACE_S": "20"})
    filler = small_disk / "filler"
    until(filler.exists)
    until(lambda: os.statvfs(small_disk).f_bavail == 0)
    filler.unlink()
    ended = finish(process).check(0)
    assert Counter(quiet_cloud.exports) == Counter(volumes)
    assert f"{ROWS} succeeded" in ended.out


def test_a_disk_that_is_full_from_the_start_leaves_no_state_file(
    program: Program, small_disk: Path, volumes: list[str]
) -> None:
    filler = fill(small_disk)
    ended = program.run(*words(small_disk)).check(74)
    assert "hint:" in ended.err
    assert list(small_disk.iterdir()) == [filler]


def test_a_disk_that_fills_while_the_list_is_loaded_leaves_no_state_file(
    program: Program, small_disk: Path
) -> None:
    write_list(program.folder / "v.csv", 20_000)
    program.run(*words(small_disk)).check(74)
    assert list(small_disk.iterdir()) == []

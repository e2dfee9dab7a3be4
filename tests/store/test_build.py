from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from batchexport.errors import StateError, StateWriteError
from batchexport.model import NO_OPTIONS, ImageOptions, InUse, JobRows, JobState, TargetKey
from batchexport.store import Duplicate, StateReader, building
from tests.store.making import HERE, THERE, make, record, row, volume


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_finished_file_holds_every_row_as_it_was_added(path: Path) -> None:
    options = ImageOptions(disk_format="raw", force=False, timeout_s=3600.0)
    make(path, [row(1), row(2, target=THERE, options=options), row(3)])
    with StateReader(path) as reader:
        jobs = list(reader.jobs())
    assert [job.job_id for job in jobs] == [1, 2, 3]
    assert [job.line for job in jobs] == [2, 3, 4]
    assert [job.target for job in jobs] == [HERE, THERE, HERE]
    assert jobs[1].options == options
    assert jobs[1].image_name == f"{volume(2)}-run"
    assert {job.state for job in jobs} == {JobState.PENDING}


def test_rows_beyond_one_batch_are_all_kept(path: Path) -> None:
    make(path, 2500)
    with StateReader(path) as reader:
        assert [job.volume_id for job in reader.jobs()] == [volume(n) for n in range(1, 2501)]
        assert reader.run == record(2500)


def together(
    first: int, rows: int, *, target: TargetKey = HERE, options: ImageOptions = NO_OPTIONS
) -> JobRows:
    return JobRows(
        first_line=first + 1,
        volume_ids=[volume(number) for number in range(first, first + rows)],
        image_names=None,
        target=target,
        options=options,
    )


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 1000])
def test_rows_added_together_are_those_added_one_by_one(path: Path, rows: int) -> None:
    options = ImageOptions(disk_format="raw", in_use=InUse.STOP)
    parts = [together(1, rows), together(rows + 1, rows, target=THERE, options=options)]
    last = row(2 * rows + 1)
    singly = path.with_name("singly.state")
    with building(path) as build, building(singly) as one_by_one:
        for part in parts:
            build.add_all(part, [f"{volume_id}-run" for volume_id in part.volume_ids])
            for each in part:
                one_by_one.add(each, f"{each.volume_id}-run")
        for builder in (build, one_by_one):
            builder.add(last, "last")
            assert builder.duplicates(10) == []
            builder.finish(record(2 * rows + 1))
    with StateReader(path) as found, StateReader(singly) as wanted:
        assert list(found.jobs()) == list(wanted.jobs())
        assert found.overview().tallies == wanted.overview().tallies
        assert [tally.jobs for tally in found.overview().tallies] == [rows + 1, rows]
        assert found.run.stop_rows == rows


@pytest.mark.parametrize("place", [1, 500, 999])
def test_a_volume_that_stands_there_twice_is_found_however_it_was_added(path: Path, place: int) -> None:
    part = together(1, 1000)
    with building(path) as build:
        build.add_all(part, [f"{volume_id}-run" for volume_id in part.volume_ids])
        build.add(replace(row(place), line=2000), "another")
        build.add(row(3000), f"{volume(place)}-run")
        build.add(row(place, target=THERE), f"{volume(place)}-run")  # another target's may be alike
        assert build.duplicates(10) == [
            Duplicate(field="volume_id", value=volume(place), lines=(place + 1, 2000), target=HERE),
            Duplicate(field="image_name", value=f"{volume(place)}-run", lines=(place + 1, 3001), target=HERE),
        ]


def test_the_run_record_comes_back_as_it_was_given(made: Path) -> None:
    with StateReader(made) as reader:
        assert reader.run == record(3)


def test_an_empty_list_makes_a_whole_file(path: Path) -> None:
    make(path, 0)
    with StateReader(path) as reader:
        assert reader.overview().tallies == []


def test_the_file_is_for_its_owner_alone(made: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o600


def test_the_rows_wait_in_a_private_file_beside_the_place(path: Path) -> None:
    with building(path) as build:
        build.add(row(1), "one")
        assert names(path.parent) == [f".march.state.{os.getpid()}.new"]
        assert next(path.parent.iterdir()).stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_without_finish(path: Path) -> None:
    with building(path) as build:
        build.add(row(1), "one")
    assert names(path.parent) == []


def test_nothing_is_left_after_an_error(path: Path) -> None:
    with pytest.raises(RuntimeError), building(path) as build:
        build.add(row(1), "one")
        raise RuntimeError
    assert names(path.parent) == []


def test_only_the_state_file_is_left_after_finish(made: Path) -> None:
    assert names(made.parent) == ["march.state"]


def test_an_existing_file_is_never_replaced(made: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(StateError, match="exists already"), building(made):
        pass
    assert made.read_bytes() == before


def test_a_file_that_appeared_meanwhile_is_never_replaced(path: Path) -> None:
    with pytest.raises(StateError, match="exists already"), building(path) as build:
        build.add(row(1), "one")
        path.write_text("somebody was faster")
        build.finish(record(1))
    assert path.read_text() == "somebody was faster"
    assert names(path.parent) == ["march.state"]


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(StateWriteError, match="No such file or directory"),
        building(tmp_path / "no" / "a.state"),
    ):
        pass


def test_a_folder_that_goes_away_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with (
        pytest.raises(StateWriteError, match="No such file or directory"),
        building(folder / "a.state") as build,
    ):
        next(folder.iterdir()).unlink()
        build.finish(record(0))


def test_what_a_killed_builder_left_is_swept_away(path: Path) -> None:
    left = path.parent / ".march.state.1.new"
    left.write_bytes(b"half a file")
    with building(path):
        assert not left.exists()


def test_the_file_of_a_living_builder_is_not_swept_away(path: Path) -> None:
    other = path.parent / ".march.state.1.new"
    with other.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with building(path):
            assert other.exists()


def test_a_wrong_number_of_rows_is_not_finished(path: Path) -> None:
    with pytest.raises(StateError, match="1 rows were added, but the run counts 2"), building(path) as build:
        build.add(row(1), "one")
        build.finish(record(2))
    assert names(path.parent) == []


def test_a_volume_listed_again_is_told_once_with_all_its_lines(path: Path) -> None:
    with building(path) as build:
        for number in (1, 2, 1, 3, 1):
            build.add(row(number), f"{volume(number)}-run")
        assert build.duplicates(10) == [
            Duplicate(field="volume_id", value=volume(1), lines=(2, 2, 2), target=HERE)
        ]
        assert build.rows == 5


def test_an_image_name_used_by_two_volumes_is_told(path: Path) -> None:
    with building(path) as build:
        build.add(row(1), "same")
        build.add(row(2), "same")
        assert build.duplicates(10) == [
            Duplicate(field="image_name", value="same", lines=(2, 3), target=HERE)
        ]


def test_duplicates_come_by_their_first_line_and_no_more_than_the_limit(path: Path) -> None:
    with building(path) as build:
        for number in (5, 4, 3, 3, 4, 5):
            build.add(row(number), f"{volume(number)}-run")
        build.add(row(1), "same")
        build.add(row(2), "same")
        found = build.duplicates(3)
        assert [(one.field, one.lines) for one in found] == [
            ("image_name", (2, 3)),
            ("volume_id", (4, 4)),
            ("volume_id", (5, 5)),
        ]


def test_the_same_volume_in_two_targets_is_no_duplicate(path: Path) -> None:
    make(path, [row(1), row(1, target=THERE)])
    with StateReader(path) as reader:
        assert [(tally.target, tally.jobs) for tally in reader.overview().tallies] == [(HERE, 1), (THERE, 1)]


def test_a_list_with_duplicates_is_never_finished(path: Path) -> None:
    with pytest.raises(StateError, match="share their volume_id"), building(path) as build:
        build.add(row(1), "one")
        build.add(row(1), "two")
        build.finish(record(2))
    assert names(path.parent) == []

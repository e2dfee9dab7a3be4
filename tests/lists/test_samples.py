from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchexport.lists import JobList, Problem
from batchexport.model import ImageOptions, TargetKey

SAMPLES = Path(__file__).parents[2] / "samples"
GOOD = sorted(path.name for path in SAMPLES.glob("volumes*.*"))


def jobs(name: str) -> list[tuple[str, str | None, TargetKey, ImageOptions]]:
    rows: list[Any] = list(JobList(SAMPLES / name))
    return [(row.volume_id, row.image_name, row.target, row.options) for row in rows]


def test_there_is_a_sample_of_every_format() -> None:
    assert {Path(name).suffix for name in GOOD} == {".csv", ".tsv", ".json", ".jsonl"}


@pytest.mark.parametrize("name", GOOD)
def test_every_good_sample_holds_the_same_twelve_volumes(name: str) -> None:
    assert jobs(name) == jobs("volumes.csv")
    assert len({volume_id for volume_id, *_ in jobs(name)}) == 12


def test_the_broken_sample_shows_every_kind_of_problem() -> None:
    job_list = JobList(SAMPLES / "broken.csv")
    problems = [item for item in job_list if isinstance(item, Problem)]
    lines = {problem.line for problem in problems}
    assert lines == set(range(2, 26)) - {3, 22, 23}
    assert {problem.field for problem in problems} == {
        None,
        "column 11",
        "column 12",
        "volume_id",
        "image_name",
        "disk_format",
        "container_format",
        "force",
        "os_type",
        "visibility",
        "protected",
        "timeout",
    }


def test_the_broken_sample_repeats_a_volume_and_a_name() -> None:
    rows = [item for item in JobList(SAMPLES / "broken.csv") if not isinstance(item, Problem)]
    assert [row.line for row in rows] == [3, 22, 23]
    assert rows[0].volume_id == rows[1].volume_id
    assert rows[0].image_name == rows[2].image_name


def test_the_readme_names_every_sample() -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    lists = [*GOOD, "broken.csv"]
    assert [name for name in lists if f"`{name}`" not in readme] == []

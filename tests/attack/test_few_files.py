"""A process that may open only 64 files: it ends, it loses nothing, and it does not drown its user."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from tests.attack.cloud import Cloud, cloud
from tests.attack.program import QUICK, Ended, Program, environment, write_list

ROWS = 120
WORDS = ("run", "v.csv", *QUICK, "--concurrency", "200", "--max-exports", "400")


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


@pytest.fixture(scope="module")
def crowded() -> Iterator[Cloud]:
    with cloud() as one:
        yield one


@pytest.fixture(scope="module")
def program(crowded: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("few")
    (folder / "clouds.yaml").write_text(crowded.clouds_yaml())
    write_list(folder / "v.csv", ROWS)
    return Program(folder=folder, env=environment(folder, OS_CLOUD="one"))


@pytest.fixture(scope="module")
def ended(program: Program) -> Ended:
    """A run that wants 200 connections and has files for some 50."""
    return program.run(*WORDS, preexec=few_files, driver="hurry.py")


def test_the_run_succeeds_or_says_what_it_needs(ended: Ended) -> None:
    if ended.check(ended.code).code:
        assert ended.code in (2, 6)
        assert "files" in ended.err


def test_nothing_is_lost_or_doubled(ended: Ended, program: Program, crowded: Cloud) -> None:
    program.run(*WORDS).check(0)
    assert sorted(crowded.exports.values()) == [1] * ROWS


def test_one_trouble_is_not_told_a_hundred_times(ended: Ended) -> None:
    assert ended.err.count("Too many open files") < 20

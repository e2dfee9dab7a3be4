import json
from pathlib import Path

from batchexport.model import NO_OPTIONS
from batchexport.report.status import status_json, status_text
from batchexport.store import StateFile, StateReader
from tests.report.state_files import AT, HERE, build

NOW = AT + 4000


def test_status_names_the_run_and_adds_up(reader: StateReader, mixed: Path) -> None:
    text = status_text(reader, mixed, now=NOW)
    assert "run 20260921-abcdef of volumes.csv, started 2026-09-21T14:13:20Z" in text
    assert "7 rows = 1 succeeded + 2 failed + 1 skipped + 1 ambiguous + 2 to do" in text


def test_status_tells_what_is_to_do_and_what_is_stalled(reader: StateReader, mixed: Path) -> None:
    text = status_text(reader, mixed, now=NOW)
    assert "to do: 1 pending, 0 submitting, 1 exporting (1 stalled: past the deadline, still polled)" in text


def test_status_says_nothing_of_stalling_before_the_deadline(reader: StateReader, mixed: Path) -> None:
    assert "stalled" not in status_text(reader, mixed, now=AT + 100)


def test_status_counts_the_reasons_of_failed_rows(reader: StateReader, mixed: Path) -> None:
    assert "        2  volume is in-use (EVS.5400)" in status_text(reader, mixed, now=NOW)


def test_status_has_a_line_for_each_of_several_targets(reader: StateReader, mixed: Path) -> None:
    head, here, east = status_text(reader, mixed, now=NOW).split("\n\n")[1].splitlines()
    assert head.split() == ["TARGET", "SUCCEEDED", "FAILED", "SKIPPED", "AMBIGUOUS", "TO", "DO", "GIB"]
    assert here.split() == ["default", "cloud", "1", "1", "1", "1", "1", "200"]
    assert east.split() == ["cloud", "east", "0", "1", "0", "0", "1", "0"]


async def test_a_file_that_nobody_worked_on_yet_has_neither_targets_nor_reasons(tmp_path: Path) -> None:
    path = tmp_path / "fresh.state"
    build(path, [(HERE, "image", NO_OPTIONS)])
    with StateReader(path) as reader:
        text = status_text(reader, path, now=NOW)
    assert text.splitlines()[1:] == [
        "not running",
        "1 row = 0 succeeded + 0 failed + 0 skipped + 0 ambiguous + 1 to do",
        "to do: 1 pending, 0 submitting, 0 exporting",
        "0 GiB exported, 0 GiB to do (size of 1 row not known)",
    ]


async def test_status_names_the_process_that_works_on_the_file(mixed: Path) -> None:
    async with StateFile.open(mixed) as state:
        await state.take(state.targets[0].target_id)
        with StateReader(mixed) as reader:
            text = status_text(reader, mixed, now=NOW)
            content = json.loads(status_json(reader, mixed, now=NOW))
    assert "running: process" in text
    (owner,) = content["owners"]
    assert owner["alive"] is True
    assert owner["lease_until"].endswith("Z")


def test_status_as_json_says_the_same(reader: StateReader, mixed: Path) -> None:
    content = json.loads(status_json(reader, mixed, now=NOW))
    assert (
        content
        | {
            "state_file": str(mixed),
            "rows": 7,
            "succeeded": 1,
            "failed": 2,
            "to_do": 2,
            "stalled": 1,
            "top_reasons": [{"reason": "volume is in-use", "code": "EVS.5400", "rows": 2}],
            "owners": [],
        }
        == content
    )
    assert [target["rows"] for target in content["targets"]] == [5, 2]
    assert content["targets"][1]["cloud"] == "east"

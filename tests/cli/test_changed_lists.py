"""Lists live: rows are known by target and volume, not by the bytes of the file."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import Result

from batchexport.store import StateReader
from tests.cli.lists import quick_ids, write_list
from tests.cli.served import IDS, served, volumes
from tests.cli.test_run import exports_per_volume

QUICK = ("--os-cloud", "sandbox", "--requests-per-second", "0", "--poll-interval", "0.1")
LIST = Path("v.csv")


def write(
    ids: Iterable[str],
    *,
    header: str = "volume_id",
    row: str = "{}",
    newline: str = "\n",
    mark: str = "",
) -> None:
    text = newline.join([header, *(row.format(volume_id) for volume_id in ids), ""])
    LIST.write_bytes((mark + text).encode())


def states() -> dict[str, str]:
    with StateReader(Path("v.state")) as reader:
        return {job.volume_id: job.state.value for job in reader.jobs()}


def exported() -> Counter[str]:
    return exports_per_volume("v.state.sandbox")


@pytest.fixture
def begun(batchexport: Callable[..., Result]) -> Callable[..., Result]:
    """Four rows that were sent, and the way to go on."""
    write(quick_ids(4))
    assert batchexport("run", LIST, *QUICK, "--no-wait").exit_code == 0

    def again(*words: str) -> Result:
        return batchexport("run", LIST, *QUICK, *words)

    return again


@pytest.mark.parametrize(
    "how",
    [
        {"newline": "\r\n"},
        {"mark": "\ufeff"},
        {"header": "ID,Name,Status", "row": "{},a name,in-use"},
    ],
)
def test_the_same_rows_in_another_form_go_on(begun: Callable[..., Result], how: dict[str, str]) -> None:
    ids = quick_ids(4)
    random.Random(1).shuffle(ids)
    write(ids, **how)
    result = begun()
    assert result.exit_code == 0, result.output
    assert "the list has changed" not in result.stderr
    assert exported() == Counter(ids)


def test_a_list_that_grows_has_its_new_rows_taken_in(begun: Callable[..., Result]) -> None:
    write(quick_ids(6))
    dry = begun("--dry-run")
    assert "the list has changed: 2 new rows" in dry.output
    result = begun()
    assert result.exit_code == 0, result.output
    assert "the list has changed: 2 new rows" in result.stderr
    assert exported() == Counter(quick_ids(6))
    assert "the list has changed" not in begun().stderr


def test_rows_that_are_gone_stay_where_they_were_sent_and_are_left_out_where_not(
    batchexport: Callable[..., Result],
) -> None:
    def run(*ids: str, code: int = 0) -> str:
        write(ids)
        result = batchexport("run", LIST, "--os-cloud", "served", *QUICK[2:])
        assert result.exit_code == code, result.output
        return result.stderr

    with served(*volumes(statuses=["error", "error"])) as cloud:
        run(*IDS[:3], code=3)  # two were refused by the preflight
        said = run(*IDS[2:4])
        assert "1 new row, 2 rows no longer listed: skipped" in said
        left_out = dict.fromkeys(IDS[:2], "skipped")
        assert states() == left_out | dict.fromkeys(IDS[2:4], "succeeded")
        retried = batchexport("retry", "v.state", "--skipped", "--os-cloud", "served", *QUICK[2:])
        assert retried.exit_code == 0, retried.output
        said = run(IDS[0], IDS[2], code=3)
        assert "1 new row, 1 row no longer listed, but sent already: kept" in said
        assert states() == {IDS[0]: "failed", IDS[1]: "skipped"} | dict.fromkeys(IDS[2:4], "succeeded")
        assert len(list(cloud._state.world.images(time.time()))) == 2


def test_a_row_that_failed_and_was_corrected_goes(batchexport: Callable[..., Result]) -> None:
    write(quick_ids(2), header="volume_id,disk_format", row="{},vmdk")
    assert batchexport("run", LIST, *QUICK).exit_code == 3
    write(quick_ids(2), header="volume_id,disk_format", row="{},qcow2")
    result = batchexport("run", LIST, *QUICK)
    assert result.exit_code == 0, result.output
    assert "2 rows changed" in result.stderr
    assert exported() == Counter(quick_ids(2))


def test_a_change_of_a_row_that_was_sent_is_refused_alone_and_the_rest_goes_on(
    begun: Callable[..., Result],
) -> None:
    first, *others = quick_ids(5)
    LIST.write_text("\n".join(["volume_id,disk_format", f"{first},qcow2", *(f"{one}," for one in others)]))
    for _ in range(2):
        dry = begun("--dry-run")
        assert "line 2 " in dry.output
        result = begun()
        assert result.exit_code == 3, result.output
        assert f"line 2 (volume {first}): its image settings have changed" in result.stderr
        assert exported() == Counter(quick_ids(5))


def test_what_asks_nothing_of_the_image_may_change_at_any_time(begun: Callable[..., Result]) -> None:
    write(quick_ids(4), header="volume_id,timeout,in_use", row="{},90m,skip")
    assert begun().exit_code == 0


def test_a_name_that_another_row_has_is_refused_with_nothing_changed(
    batchexport: Callable[..., Result],
) -> None:
    write(quick_ids(1), header="volume_id,image_name", row="{},same")
    batchexport("run", LIST, *QUICK)
    write(quick_ids(2)[1:], header="volume_id,image_name", row="{},same")
    before = states()
    result = batchexport("run", LIST, *QUICK)
    assert result.exit_code == 5
    assert "image name 'same'" in result.stderr
    assert states() == before


def test_a_list_from_stdin_goes_on_though_its_ignored_columns_have_changed(
    batchexport: Callable[..., Result],
) -> None:
    def piped(status: str) -> Result:
        rows = [f"{volume_id},{status}" for volume_id in quick_ids(3)]
        text = "\n".join(["ID,Status", *rows])
        return batchexport("run", "-", "--state", "v.state", *QUICK, "--no-wait", input=text)

    assert piped("available").exit_code == 0
    assert piped("uploading").exit_code == 0
    assert exported() == Counter(quick_ids(3))


def test_rows_move_to_the_lines_where_they_are_now(begun: Callable[..., Result]) -> None:
    ids = quick_ids(4)
    write(reversed(ids))
    begun()
    with StateReader(Path("v.state")) as reader:
        lines = {job.volume_id: job.line for job in reader.jobs()}
    assert lines == {volume_id: line for line, volume_id in enumerate(reversed(ids), 2)}


@pytest.mark.parametrize(
    "words",
    [
        ("--os-cloud", "prdo"),
        (),
        ("--os-cloud", "sandbox", "--in-use", "stop"),
    ],
)
def test_what_was_not_started_leaves_nothing_behind(
    batchexport: Callable[..., Result], words: tuple[str, ...]
) -> None:
    write_list(LIST, 2)
    before = sorted(Path().iterdir())
    assert batchexport("run", LIST, *words).exit_code == 2
    assert sorted(Path().iterdir()) == before


def test_an_unknown_cloud_in_one_row_is_found_before_anything_is_sent(
    batchexport: Callable[..., Result],
) -> None:
    with served(*volumes()) as cloud:
        LIST.write_text(
            "\n".join(["volume_id,cloud", *(f"{each},served" for each in IDS[:4]), f"{IDS[4]},prod"])
        )
        result = batchexport("run", LIST, "--poll-interval", "0.1")
        assert result.exit_code == 2, result.output
        assert "cloud 'prod'" in result.stderr
        assert not list(cloud._state.world.images(time.time()))
        assert not Path("v.state").exists()
        LIST.write_text("\n".join(["volume_id,cloud", *(f"{each},served" for each in IDS)]))
        assert batchexport("run", LIST, "--poll-interval", "0.1").exit_code == 0


def test_the_state_file_is_beside_the_list_wherever_the_command_is_run(
    batchexport: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list(LIST, 2)
    path = LIST.absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for _ in range(2):
        result = batchexport("run", path, *QUICK)
        assert result.exit_code == 0, result.output
        monkeypatch.chdir(path.parent)
    assert path.with_suffix(".state").exists()
    assert not (tmp_path / "elsewhere" / "v.state").exists()
    assert exports_per_volume(path.parent / "v.state.sandbox") == Counter(quick_ids(2))


def test_a_state_file_of_an_earlier_version_in_this_folder_is_gone_on_with(
    batchexport: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "v.csv"
    write_list(path, 2)
    batchexport("run", path, "--state", "v.state", *QUICK, "--no-wait")
    result = batchexport("run", path, *QUICK)
    assert "resuming run" in result.stderr
    assert "state file v.state" in result.stderr
    assert exported() == Counter(quick_ids(2))


def test_a_state_file_of_another_list_in_this_folder_is_left_alone(
    batchexport: Callable[..., Result], tmp_path: Path
) -> None:
    write_list(Path("other.csv"), 2)
    batchexport("run", "other.csv", "--state", "v.state", *QUICK)
    (tmp_path / "lists").mkdir()
    write_list(tmp_path / "lists" / "v.csv", 2)
    result = batchexport("run", tmp_path / "lists" / "v.csv", *QUICK, "--dry-run")
    assert f"state file: {tmp_path / 'lists' / 'v.state'}" in result.output


def test_a_list_from_a_pipe_needs_a_state_file_by_name(batchexport: Callable[..., Result]) -> None:
    os.mkfifo("pipe.csv")
    result = batchexport("run", "pipe.csv", *QUICK)
    assert result.exit_code == 2
    assert "--state is missing" in result.stderr


def test_what_another_state_file_here_has_exported_is_said_and_not_exported_again(
    batchexport: Callable[..., Result],
) -> None:
    run = ("--os-cloud", "served", *QUICK[2:])
    with served(*volumes()) as cloud:
        write(IDS[:3])
        assert batchexport("run", LIST, *run).exit_code == 0
        Path("damaged.state").write_text("damaged")
        write(IDS)
        result = batchexport("run", LIST, "--state", "other.state", *run)
        assert result.exit_code == 0, result.output
        assert "3 rows of target default are exported already by v.state" in result.stderr
        assert len(list(cloud._state.world.images(time.time()))) == 5
        report = batchexport("report", "other.state", "-f", "csv").stdout
        assert report.count("exported already by run") == 3
        assert batchexport("retry", "other.state", "--skipped", *run).exit_code == 0
        assert len(list(cloud._state.world.images(time.time()))) == 5
        assert batchexport("retry", "other.state", "--skipped", "--again", *run).exit_code == 0
        assert len(list(cloud._state.world.images(time.time()))) == 8


@pytest.mark.slow
def test_another_cloud_or_a_night_has_exported_nothing_of_ours(batchexport: Callable[..., Result]) -> None:
    write(IDS)
    batchexport("run", LIST, "--os-cloud", "sandbox", *QUICK[2:], "--state", "rehearsed.state")
    for name in ("job-2027-01-01.state", "job-2027-01-02.state", "job-2027-01-03T04-05.state"):
        with served(*volumes()):
            result = batchexport("run", LIST, "--state", name, "--os-cloud", "served", *QUICK[2:])
        assert result.exit_code == 0, result.output
        assert "5 succeeded" in result.stdout
    with served(*volumes()):
        result = batchexport("run", LIST, "--os-cloud", "served", *QUICK[2:])
    assert "5 succeeded" in result.stdout

"""Job files whose list is what fits `[discover]`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchexport.store import StateReader
from tests.cli.served import IDS, served, volumes

JOB = """
[job]
{job}
[discover]
{discover}
[cloud]
name = "served"
[image]
{image}
[limits]
requests_per_second = 200
poll_interval = "0.1s"
"""
NIGHTS = 'state_dir = "nights"'


def job_file(discover: str = 'status = "available"', *, job: str = NIGHTS, image: str = "") -> Path:
    path = Path("nightly.toml")
    path.write_text(JOB.format(job=job, discover=discover, image=image))
    return path


def the_night() -> Path:
    (path,) = Path("nights").glob("*.state")
    return path


def exported(path: Path) -> dict[str, str]:
    with StateReader(path) as reader:
        return {job.volume_id: str(job.state) for job in reader.jobs()}


@pytest.fixture(autouse=True)
def whole_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night without window or schedule is called after its date: which must not change under a test."""
    monkeypatch.setattr("batchexport.app.nightly_run.nightly_runs.night_name", lambda *_: "2026-11-24")


def test_a_night_exports_what_fits_when_it_begins(batchexport: Callable[..., Result]) -> None:
    with served(*volumes(statuses=["error", "available"])):
        result = batchexport("run", job_file('status = "available"\nname = ["vol-[1-3]", "none"]'))
    assert result.exit_code == 0, result.stderr
    assert exported(the_night()) == dict.fromkeys(IDS[1:3], "succeeded")
    listed = Path("nights/nightly-2026-11-24.state.list.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in listed} == {"volume_id", *IDS[1:3]}
    assert "2 volumes match [discover], listed in nights/nightly-2026-11-24.state.list.csv" in result.stderr


def test_the_list_of_a_night_is_made_once(batchexport: Callable[..., Result]) -> None:
    path = job_file('name = "vol-[12]"')
    with served(*volumes()):
        assert batchexport("run", path, "--no-wait").exit_code == 0
        path.write_text(path.read_text().replace("vol-[12]", "vol-*"))
        result = batchexport("run", path)
    assert result.exit_code == 0, result.stderr
    assert "resuming run" in result.stderr
    assert "[discover]" not in result.stderr
    assert exported(the_night()) == dict.fromkeys(IDS[:2], "succeeded")


def test_an_unfinished_night_is_carried_on_with_its_own_list_and_then_tonights_is_made(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = job_file('name = "vol-[12]"')
    with served(*volumes()):
        assert batchexport("run", path, "--no-wait").exit_code == 0
        path.write_text(path.read_text().replace("vol-[12]", "vol-[34]"))
        monkeypatch.setattr("batchexport.app.nightly_run.nightly_runs.night_name", lambda *_: "2026-11-25")
        result = batchexport("run", path)
    assert result.exit_code == 0, result.stderr
    first, second = sorted(Path("nights").glob("*.state"))
    assert exported(first) == dict.fromkeys(IDS[:2], "succeeded")
    assert exported(second) == dict.fromkeys(IDS[2:4], "succeeded")


def test_a_night_that_finds_nothing_is_a_good_one_and_says_so(batchexport: Callable[..., Result]) -> None:
    path = job_file('name = "nothing-*"')
    with served(*volumes()):
        result = batchexport("run", path)
        assert result.exit_code == 0, result.stderr
        assert "no volume matches [discover]: there is nothing to export" in result.stderr
        again = batchexport("run", path)
    assert (again.exit_code, exported(the_night())) == (0, {})
    assert "tonight's run is already complete" in again.stderr
    (line,) = json.loads(batchexport("runs", "nights", "-f", "json").stdout)
    assert (line["is"], line["rows"]) == ("done", 0)
    for form in ("table", "csv", "json", "html", "markdown"):
        assert batchexport("report", the_night(), "-f", form).exit_code == 0
    assert "0 rows" in batchexport("status", the_night()).stdout


def test_a_cloud_that_fails_then_ends_the_night_with_its_words_and_tries_again_later(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchexport.app.nightly_run._WAIT_S", 0.0)
    path = job_file()
    with served(*volumes()) as sandbox:
        address = sandbox.url
    result = batchexport("run", path, "--events", "events.ndjson")
    assert result.exit_code == 6
    assert "error: " in result.stderr and address.split("//")[1] in result.stderr
    ended = json.loads(Path("events.ndjson").read_text())
    assert (ended["event"], ended["exit_code"], bool(ended["error"])) == ("run_ended", 6, True)
    assert list(Path("nights").glob("*.state*")) == []


def test_without_a_folder_of_nights_the_run_is_called_after_the_job(
    batchexport: Callable[..., Result],
) -> None:
    path = job_file(job="")
    with served(*volumes(statuses=["error"])):
        assert batchexport("run", path).exit_code == 0
        again = batchexport("run", path)
    assert again.exit_code == 0
    assert Path("nightly.state.list.csv").exists()
    with StateReader(Path("nightly.state")) as reader:
        assert (reader.run.rows, reader.run.list_name) == (4, "nightly.toml")


def test_images_may_be_called_after_their_volumes(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        path = job_file(image='name_template = "{volume_name} of {date}"')
        assert batchexport("run", path).exit_code == 0
    with StateReader(the_night()) as reader:
        names = {job.image_name[:5] for job in reader.jobs()}
    assert names == {f"vol-{number}" for number in range(1, 6)}


def test_a_plan_looks_at_what_fits_now_and_leaves_nothing_behind(batchexport: Callable[..., Result]) -> None:
    with served(*volumes(statuses=["error"])):
        result = batchexport("plan", job_file('status = ["available", "error"]'))
    assert result.exit_code == 3
    assert IDS[0] in result.stdout
    assert not Path("nights").exists()


def test_what_needs_no_cloud_asks_none(batchexport: Callable[..., Result]) -> None:
    path = job_file()
    assert "the volumes that match [discover] when the run begins" in batchexport("run", "-n", path).stdout
    assert batchexport("validate", path).stdout.startswith(
        "nightly.toml: no problems; its list is discovered"
    )


def test_a_list_that_cannot_be_written_is_told(batchexport: Callable[..., Result]) -> None:
    Path("nights").mkdir()
    Path("nights/nightly-2026-11-24.state.list.csv").mkdir()
    with served(*volumes()):
        result = batchexport("run", job_file())
    assert result.exit_code == 74
    assert "nightly-2026-11-24.state.list.csv: cannot write the discovered list" in result.stderr


def test_a_list_without_names_is_refused_with_line_and_hint(batchexport: Callable[..., Result]) -> None:
    Path("volumes.csv").write_text(f"volume_id\n{IDS[0]}\n")
    result = batchexport("run", "volumes.csv", "--name-template", "{volume_name}", "--os-cloud", "sandbox")
    assert result.exit_code == 2
    assert "line 2, volume_name: is missing, and the name template fills it in" in result.stderr
    assert "hint: give the list a column volume_name, as `batchexport discover` writes it" in result.stderr

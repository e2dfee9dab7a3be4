"""`[images] keep`: what becomes of the images of earlier nights, on a cloud that keeps them all."""

import json
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result

from batchexport.app import run_in_loop
from batchexport.app.retention import outdated
from batchexport.cli.console import TerminalConsole
from batchexport.cli.flags import config_of_run
from batchexport.model import Image
from batchexport.sandbox import Sandbox
from batchexport.sandbox.responses import glance_time
from batchexport.store import StateReader
from batchexport.store.owner import this_process
from tests.cli.served import served, volumes
from tests.store.making import alter

JOB = """
[job]
state_dir = "nights"
{job}
[discover]
name = "vol-[12]"
[cloud]
name = "served"
[image]
{image}
[images]
{images}
[limits]
requests_per_second = 500
poll_interval = "0.1s"
"""


class Calendar:
    """Nights of a job, as many as a test asks for."""

    def __init__(self, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
        self._call, self._night = call, 0
        # Nights of seconds are to be days apart: the cloud tells whole seconds.
        began_at = time.time()
        monkeypatch.setattr(
            "batchexport.sandbox.image_records.glance_time",
            lambda at: glance_time(began_at + 10_000 * (at - began_at)),
        )
        monkeypatch.setattr(
            "batchexport.app.nightly_run.nightly_runs.night_name", lambda *_: f"2026-11-{self._night:02}"
        )

    def job(self, *, images: str = "keep = 2", image: str = "", job: str = "") -> None:
        Path("nightly.toml").write_text(JOB.format(images=images, image=image, job=job))

    def night(self, *words: Any) -> Any:
        self._night += 1
        return self._call("run", "nightly.toml", *words)

    def again(self) -> Any:
        return self._call("run", "nightly.toml")


@pytest.fixture
def calendar(batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Any:
    return Calendar(batchexport, monkeypatch)


def recorded(night: int) -> Any:
    """Volume and image of each row of a night that succeeded."""
    with StateReader(Path(f"nights/nightly-2026-11-{night:02}.state")) as reader:
        return {job.volume_id: job.image_id for job in reader.jobs() if job.image_id}


def noted(night: int) -> Any:
    with StateReader(Path(f"nights/nightly-2026-11-{night:02}.state")) as reader:
        return reader.removals()


def ask(sandbox: Sandbox, method: str, path: str, body: object = None, **headers: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(sandbox.url + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, answer.read()


def token(sandbox: Sandbox) -> Any:
    user = {"name": "demo", "password": "sandbox", "domain": {"name": "Default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    path = "/identity/v3/auth/tokens"
    project = {"name": "demo", "domain": {"name": "Default"}}
    body = {"auth": {"identity": identity, "scope": {"project": project}}}
    return ask(sandbox, "POST", path, body, **{"Content-Type": "application/json"})[0]["X-Subject-Token"]


def there(sandbox: Sandbox) -> Any:
    """The ids of all images of the cloud."""
    _, text = ask(sandbox, "GET", "/image/v2/images", **{"X-Auth-Token": token(sandbox)})
    return {image["id"] for image in json.loads(text)["images"]}


def delete(sandbox: Sandbox, image_id: str) -> None:
    ask(sandbox, "DELETE", f"/image/v2/images/{image_id}", **{"X-Auth-Token": token(sandbox)})


def test_older_images_go_once_newer_ones_are_there(calendar: Any) -> None:
    calendar.job()
    with served(*volumes()) as sandbox:
        first, second, third = (calendar.night() for _ in range(3))
        left = there(sandbox)
    assert [each.exit_code for each in (first, second, third)] == [0, 0, 0]
    assert "removed" not in first.stderr + second.stderr
    assert "removed 2 images superseded by newer ones" in third.stderr
    assert left == {*recorded(2).values(), *recorded(3).values()}


def test_each_removal_is_noted_beside_the_image(calendar: Any) -> None:
    calendar.job()
    with served(*volumes()):
        for _ in range(3):
            calendar.night()
    notes = noted(1)
    assert {note.volume_id: note.image_id for note in notes} == recorded(1)
    assert {note.outcome for note in notes} == {"removed"}
    assert all(note.asked_at <= note.ended_at for note in notes)
    with StateReader(Path("nights/nightly-2026-11-03.state")) as reader:
        assert {note.run_id for note in notes} == {reader.run.run_id}
    assert noted(2) == noted(3) == []


def test_a_night_done_again_removes_no_more(calendar: Any) -> None:
    calendar.job()
    with served(*volumes()) as sandbox:
        for _ in range(3):
            calendar.night()
        before = there(sandbox)
        assert calendar.again().exit_code == 0
        assert there(sandbox) == before


def test_without_a_word_every_image_stays(calendar: Any) -> None:
    calendar.job(images="")
    with served(*volumes()) as sandbox:
        for _ in range(3):
            assert calendar.night().exit_code == 0
        assert len(there(sandbox)) == 6


def test_protected_images_stay_and_are_named(calendar: Any) -> None:
    calendar.job(images="keep = 1", image="protected = true")
    with served(*volumes()) as sandbox:
        first, second = calendar.night(), calendar.night()
        assert len(there(sandbox)) == 4
    assert (first.exit_code, second.exit_code) == (0, 0)
    for image_id in recorded(1).values():
        assert f"image {image_id} kept although superseded: it is protected" in second.stderr
    assert noted(1) == []


def test_an_image_that_somebody_removed_does_not_count(calendar: Any) -> None:
    calendar.job()
    with served(*volumes()) as sandbox:
        calendar.night(), calendar.night()
        for image_id in recorded(2).values():
            delete(sandbox, image_id)
        assert calendar.night().exit_code == 0
        assert there(sandbox) == {*recorded(1).values(), *recorded(3).values()}


def test_nothing_goes_for_a_volume_that_was_not_exported_tonight(calendar: Any) -> None:
    calendar.job(images="keep = 1")
    with served(*volumes()):
        calendar.night()
        Path("nightly.toml").write_text(Path("nightly.toml").read_text().replace("vol-[12]", "vol-3"))
        assert calendar.night().exit_code == 0
    assert noted(1) == []


def test_what_a_forgotten_state_file_recorded_stays(calendar: Any) -> None:
    calendar.job(job="keep = 3")
    with served(*volumes()) as sandbox:
        calendar.night()
        Path("nights/nightly-2026-11-01.state").unlink()
        calendar.night(), calendar.night()
        assert len(there(sandbox)) == 6


def test_a_cloud_that_fails_then_ends_nothing(calendar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calendar.job(images="keep = 1")
    with served(*volumes()):
        calendar.night()
        calendar.job(images="")
        calendar.night()
    calendar.job(images="keep = 1")
    result = calendar.again()
    assert result.exit_code == 0
    assert "superseded images were kept: " in result.stderr
    assert noted(1) == []


def test_a_state_file_that_cannot_be_read_ends_nothing(calendar: Any) -> None:
    calendar.job(images="keep = 1")
    with served(*volumes()) as sandbox:
        calendar.night()
        path = Path("nights/nightly-2026-11-01.state")
        path.write_bytes(path.read_bytes()[:50_000])
        calendar.job(images="keep = 1", job='on_unfinished = "abandon"')
        result = calendar.night()
        assert len(there(sandbox)) == 4
    assert result.exit_code == 0, result.stderr
    assert "every image is kept: " in result.stderr


def test_cleanup_of_a_job_shows_what_is_old_and_removes_it_when_told(
    calendar: Any, batchexport: Callable[..., Result]
) -> None:
    calendar.job(images="")
    with served(*volumes()) as sandbox:
        for _ in range(3):
            calendar.night()
        calendar.job(images="keep = 2")
        shown = batchexport("cleanup", "nightly.toml")
        assert len(there(sandbox)) == 6
        removed = batchexport("cleanup", "nightly.toml", "--yes")
        assert there(sandbox) == {*recorded(2).values(), *recorded(3).values()}
        again = batchexport("cleanup", "nightly.toml")
    assert (shown.exit_code, removed.exit_code, again.exit_code) == (0, 0, 0)
    for image_id in recorded(1).values():
        assert f"{image_id}  " in shown.stdout
        assert "left over: its volume has newer images" in shown.stdout
        assert f"{image_id}  " in removed.stdout
    assert "2 images superseded; 0 gone already; 4 images retained" in shown.stdout
    assert "retained: keep_last = 2" in shown.stdout
    assert "the same command with --yes removes what is left over" in shown.stdout
    assert "0 images superseded; 0 gone already; 4 images retained" in again.stdout


def test_a_dry_run_removes_nothing_whatever_else_is_said(
    calendar: Any, batchexport: Callable[..., Result]
) -> None:
    calendar.job(images="")
    with served(*volumes()) as sandbox:
        calendar.night(), calendar.night()
        calendar.job(images="keep_last = 1")
        result = batchexport("cleanup", "nightly.toml", "--yes", "--dry-run")
        batchexport("cleanup", "nightly.toml", env={"BATCHEXPORT_YES": "1"})
        assert len(there(sandbox)) == 4
    assert "2 images superseded" in result.stdout


def state_of(night: int) -> Path:
    return Path(f"nights/nightly-2026-11-{night:02}.state")


def test_a_state_file_that_was_copied_changes_nothing(
    calendar: Any, batchexport: Callable[..., Result]
) -> None:
    """The same image recorded twice is one image, not two generations of it."""
    calendar.job(images="keep = 1")
    with served(*volumes()) as sandbox:
        calendar.night()
        for copy in ("2026-01-01", "2027-01-01"):
            shutil.copy(state_of(1), f"nights/nightly-{copy}.state")
        result = batchexport("cleanup", "nightly.toml", "--yes")
        assert there(sandbox) == set(recorded(1).values())
    assert result.exit_code == 0, result.stderr


def test_an_image_that_was_found_by_its_name_only_is_never_removed(
    calendar: Any, batchexport: Callable[..., Result]
) -> None:
    """No request of ours got its id, and its name may be that of another list's image."""
    calendar.job(images="keep = 1", image='name_template = "db-{volume_id}-{date}"')
    with served(*volumes()) as sandbox:
        calendar.night()
        alter(state_of(1), "UPDATE job SET request_id = NULL")
        alter(state_of(1), "UPDATE operation SET request_id = NULL")
        first = set(recorded(1).values())
        second = calendar.night()
        assert first <= there(sandbox)
        shown = batchexport("cleanup", "nightly.toml")
    assert second.stderr.count("kept although superseded: found by its name only") == 2
    assert shown.stdout.count("kept: found by its name only") == 2


def test_a_machine_whose_clock_was_wrong_one_night_removes_no_newer_image(calendar: Any) -> None:
    """Only the cloud's times count: by the record, the first night is of next week."""
    calendar.job(images="keep = 1")
    with served(*volumes()) as sandbox:
        calendar.night()
        alter(state_of(1), "UPDATE job SET accepted_at = accepted_at + 700000")
        calendar.night()
        assert there(sandbox) == set(recorded(2).values())


def test_no_image_goes_for_one_that_is_not_whole(calendar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calendar.job(images="keep = 1")
    with served(*volumes()) as sandbox:
        calendar.night()
        monkeypatch.setattr("batchexport.sandbox.image_records.image_size_bytes", lambda view: 2**20)
        result = calendar.night()
        assert len(there(sandbox)) == 4
    assert result.exit_code == 3  # tonight's images are not known to be whole
    assert "kept although superseded: it holds 1,048,576 bytes" in result.stderr


def test_pruning_ends_with_its_window(calendar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calendar.job(images="keep = 1")
    with served(*volumes()) as sandbox:
        calendar.night()
        config = config_of_run("nightly.toml", {}, {})
        calendar.job(images="")
        calendar.night()
        known = [state_of(1), state_of(2)]
        assert run_in_loop(
            outdated(config, known[1], known, TerminalConsole(), remove=True, until=time.time() - 1)
        )
        assert len(there(sandbox)) == 4
        run_in_loop(outdated(config, known[1], known, TerminalConsole(), remove=True, until=time.time() + 60))
        assert len(there(sandbox)) == 2


def test_an_image_in_a_state_file_at_work_is_left_for_another_night(calendar: Any) -> None:
    calendar.job(images="keep = 1")
    with served(*volumes()) as sandbox:
        calendar.night()
        alter(
            state_of(1),
            f"UPDATE target SET owner = '{msgspec.json.encode(this_process(now=time.time())).decode()}',"
            f" lease_until = {time.time() + 60}",
        )
        result = calendar.night()
        assert len(there(sandbox)) == 4
    assert result.exit_code == 0
    assert "kept although superseded: the state file is in use by process" in result.stderr


@pytest.mark.parametrize(
    ("images", "words"),
    [("", "nightly.toml keeps every image"), ("keep = 1", "nights holds no run of nightly.toml yet")],
)
def test_cleanup_of_a_job_says_why_there_is_nothing(
    calendar: Any, batchexport: Callable[..., Result], images: list[Image], words: str
) -> None:
    calendar.job(images=images)
    result = batchexport("cleanup", "nightly.toml")
    assert result.exit_code == 2
    assert words in result.stderr


def test_quiet_is_quiet_about_what_went(calendar: Any) -> None:
    calendar.job(images="keep = 1")
    with served(*volumes()):
        calendar.night("-q")
        assert calendar.night("-q").stderr == ""
    assert len(noted(1)) == 2

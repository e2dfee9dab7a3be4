"""The commands around a run, on a real HTTP server: plan, verify, discover, doctor."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from msgspec.structs import replace

from batchexport.cloud.image import ImageService
from batchexport.errors import RefusedError
from batchexport.lists import JobList
from batchexport.plan import account_checks
from batchexport.sandbox import SandboxServer, clouds_yaml
from batchexport.store import StateReader
from tests.cli.clouds import define
from tests.cli.served import IDS, served, volumes
from tests.cloud.scripted import unused_url

CLOUD = ("--os-cloud", "served", "--requests-per-second", "0")
PAUSED = "cccccccc-0000-4000-8000-000000000000"
RUN = (*CLOUD, "--poll-interval", "0.1")


def write(*rows: str, name: str = "list.csv", header: str = "volume_id") -> str:
    Path(name).write_text("\n".join([header, *rows]) + "\n")
    return name


def test_a_plan_of_a_good_list_ends_with_0_and_keeps_nothing(batchexport: Callable[..., Result]) -> None:
    listed = write(*IDS)
    with served(*volumes()) as sandbox:
        before = sorted(Path().iterdir())
        result = batchexport("plan", listed, *CLOUD)
        assert sandbox.counts["post_action"] == 0
    assert result.exit_code == 0, result.output
    first, images, sizes = result.stdout.splitlines()
    assert first == "5 rows: 5 to export"
    assert images.startswith("images: 0 in the project")
    assert sizes.startswith("50 GiB, the largest volume 10 GiB; about 1 min to 4 min")
    assert sorted(Path().iterdir()) == before


def test_a_plan_tells_each_row_that_cannot_go_with_its_line(batchexport: Callable[..., Result]) -> None:
    missing = "99999999-0000-4000-8000-000000000000"
    listed = write(IDS[0], missing, IDS[1], IDS[2])
    with served(*volumes(statuses=["available", "in-use", "error"])):
        result = batchexport("plan", listed, *CLOUD)
    assert result.exit_code == 3
    table = result.stdout.splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["3", "4", "5"]
    assert [line[35:71] for line in table[1:4]] == [missing, IDS[1], IDS[2]]
    assert "4 rows: 1 to export, 3 cannot go" in result.stdout
    assert "detach it, or see --in-use" in result.stdout


def test_a_plan_in_json_says_the_same(batchexport: Callable[..., Result]) -> None:
    listed = write(*IDS)
    with served(*volumes(statuses=["backing-up", "in-use"])):
        result = batchexport("plan", listed, *CLOUD, "-f", "json", "--in-use", "skip")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    (target,) = told["targets"]
    assert told["every_row_can_go"] is True
    assert (target["rows"], target["to_export"], target["left_out"], target["may_fail"]) == (5, 4, 1, 1)
    assert [finding["code"] for finding in target["findings"]] == ["volume_busy", "in_use"]


def test_a_plan_asks_for_pages_and_not_for_rows(batchexport: Callable[..., Result]) -> None:
    listed = write(*IDS)
    with served(*volumes()) as sandbox:
        batchexport("plan", listed, *CLOUD)
        assert sandbox.counts["get_volume"] + sandbox.counts["list_volumes"] <= 2


def test_an_image_name_that_is_taken_is_told_before_it_is_used(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        batchexport("run", write(f"{IDS[0]},one", name="a.csv", header="volume_id,image_name"), *RUN)
        again = write(f"{IDS[1]},one", f"{IDS[2]},two", name="b.csv", header="volume_id,image_name")
        result = batchexport("plan", again, *CLOUD)
    assert result.exit_code == 0
    assert "an image of this name exists already: one" in result.stdout
    assert "2 rows: 2 to export (1 may fail)" in result.stdout


def test_a_plan_of_a_broken_list_asks_nobody(batchexport: Callable[..., Result]) -> None:
    result = batchexport("plan", write("vol-7"), *CLOUD)
    assert result.exit_code == 2


def test_a_plan_on_the_practice_cloud_reads_what_its_list_does_not_show(
    batchexport: Callable[..., Result],
) -> None:
    result = batchexport("plan", write(*IDS), "--os-cloud", "sandbox", *CLOUD[2:])
    assert result.exit_code == 0
    assert result.stdout.startswith("5 rows: 5 to export")


def test_rows_beyond_those_that_were_read_are_told_apart(batchexport: Callable[..., Result]) -> None:
    many = [f"{number:08x}-1111-4000-8000-000000000000" for number in range(40)]
    practice = batchexport("plan", write(*many), "--os-cloud", "sandbox", *CLOUD[2:])
    assert "20 rows not checked" in practice.stdout
    assert "GiB in 20 rows" in practice.stdout
    with served(*volumes()):
        result = batchexport("plan", write(*many), *CLOUD)
    assert result.exit_code == 3
    assert "40 rows: 0 to export, 40 cannot go" in result.stdout
    assert "20 rows of these: the volume is in no list of the project" in result.stdout


def test_several_targets_are_told_apart(batchexport: Callable[..., Result]) -> None:
    listed = write(f"{IDS[0]},", f"{IDS[1]},demo", header="volume_id,project")
    with served(*volumes()):
        result = batchexport("plan", listed, *CLOUD)
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if line in ("default cloud", "project demo")] == [
        "default cloud",
        "project demo",
    ]


def test_a_run_ends_what_cannot_go_without_sending_it(batchexport: Callable[..., Result]) -> None:
    listed = write(*IDS)
    with served(*volumes(statuses=["error", "in-use"])) as sandbox:
        result = batchexport("run", listed, *RUN)
        assert sandbox.counts["post_action"] == 3
    assert result.exit_code == 3
    assert "not sent: the volume is error" in result.stdout
    assert "2 rows that cannot be exported are failed; nothing was sent" in result.stderr


def test_a_run_without_a_preflight_sends_them(batchexport: Callable[..., Result]) -> None:
    listed = write(*IDS)
    with served(*volumes(statuses=["error", "in-use"])) as sandbox:
        batchexport("run", listed, *RUN, "--no-preflight")
        assert sandbox.counts["post_action"] == 5


def test_verify_passes_the_images_of_a_run(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        batchexport("run", write(*IDS), *RUN)
        result = batchexport("verify", "list.state", *CLOUD)
        told = json.loads(batchexport("verify", "list.state", *CLOUD, "-f", "json").stdout)
    assert (result.exit_code, result.stdout) == (0, "5 images: 5 as asked, 0 not; 5 compared by their hash\n")
    assert told["passed"] is True
    with StateReader(Path("list.state")) as reader:
        assert all(job.image_hash.startswith("sha512:") for job in reader.jobs())


def test_verify_tells_images_that_are_gone(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        batchexport("run", write(*IDS), *RUN)
    with served(*volumes()):  # the same project at another address, without the images
        result = batchexport("verify", "list.state", *CLOUD, "--rebind-cloud")
        told = json.loads(batchexport("verify", "list.state", *CLOUD, "--rebind-cloud", "-f", "json").stdout)
    assert result.exit_code == 3
    assert "5 images: 0 as asked, 5 not" in result.stdout
    assert result.stdout.count("the image is gone") == 5
    assert told["targets"][0]["findings"][0]["findings"] == [
        {"code": "image_gone", "words": "the image is gone"}
    ]


def test_discover_makes_a_list_that_can_be_run(batchexport: Callable[..., Result]) -> None:
    with served(*volumes(statuses=["error", "in-use"])):
        found = batchexport("discover", *CLOUD, "--status", "available")
    assert found.exit_code == 0
    Path("found.csv").write_text(found.stdout)
    assert sorted(row.volume_id for row in JobList("found.csv")) == IDS[2:]
    assert found.stdout.splitlines()[0].startswith("volume_id,volume_name,size_gib,status")


def test_discover_writes_json_lists_too(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        found = batchexport("discover", *CLOUD, "--name", "vol-[12]", "-f", "json", "-o", "found.json")
    assert found.exit_code == 0
    assert "2 volumes match, 2 rows written to found.json" in found.stderr
    assert sorted(row.volume_id for row in JobList("found.json")) == IDS[:2]


def test_discover_says_where_no_volume_fits(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        found = batchexport("discover", *CLOUD, "--metadata", "tier=gold")
    assert found.exit_code == 0
    assert (len(found.stdout.splitlines()), found.stderr) == (1, "no volume matches\n")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_discover_adds_what_a_list_does_not_have(batchexport: Callable[..., Result], form: str) -> None:
    name = f"found.{form}"
    with served(*volumes()):
        batchexport("discover", *CLOUD, "--name", "vol-[12]", "-f", form, "-o", name)
        refused = batchexport("discover", *CLOUD, "-f", form, "-o", name)
        added = batchexport("discover", *CLOUD, "-f", form, "-o", name, "--append")
    assert refused.exit_code == 2
    assert "--append" in refused.stderr
    assert "5 volumes match, 3 rows written" in added.stderr
    assert sorted(row.volume_id for row in JobList(name)) == IDS


def test_discover_keeps_the_columns_of_the_list_it_adds_to(batchexport: Callable[..., Result]) -> None:
    Path("mine.csv").write_text(f"image_name,volume_id,size_gib\none,{IDS[0]},7")
    with served(*volumes()):
        result = batchexport("discover", *CLOUD, "-o", "mine.csv", "--append", "-q")
    assert (result.exit_code, result.output) == (0, "")
    assert Path("mine.csv").read_text().splitlines()[:2] == [
        "image_name,volume_id,size_gib",
        f"one,{IDS[0]},7",
    ]
    assert len(list(JobList("mine.csv"))) == 5


@pytest.mark.parametrize(
    ("content", "form", "code"),
    [
        ("volume_id\nvol-7\n", "csv", 2),
        (f"# mine\nvolume_id\n{IDS[0]}\n", "csv", 2),
        ('{"jobs": []}', "json", 2),
        (f"volume_id\n{IDS[0]}\n", "json", 2),
    ],
)
def test_discover_leaves_alone_what_it_cannot_add_to(
    batchexport: Callable[..., Result], content: str, form: str, code: int
) -> None:
    Path("mine").write_text(content)
    with served(*volumes()):
        result = batchexport("discover", *CLOUD, "-o", "mine", "--append", "-f", form)
    assert result.exit_code == code
    assert Path("mine").read_text() == content


def test_discover_tells_where_it_cannot_write(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        result = batchexport("discover", *CLOUD, "-o", "no/such/folder.csv")
    assert result.exit_code == 2
    assert "cannot write no/such/folder.csv" in result.stderr


@pytest.mark.parametrize("words", [["--append"], ["--metadata", "tier"]], ids=" ".join)
def test_discover_refuses_flags_that_mean_nothing(
    batchexport: Callable[..., Result], words: list[str]
) -> None:
    assert batchexport("discover", *CLOUD, *words).exit_code == 2


def test_doctor_finds_a_good_account_fit(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()) as sandbox:
        result = batchexport("doctor", *CLOUD)
        assert sandbox.counts["post_action"] == 0
    assert result.exit_code == 0, result.output
    lines = dict(line.split(None, 2)[1:] for line in result.stdout.splitlines() if line.startswith("ok"))
    assert lines["sign-in"] == "user demo, project demo"
    assert lines["volumes"] == "can be listed; there are 5"
    assert lines["clock"] == "within a minute of the cloud's"


def test_doctor_says_at_what_it_ended(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        nowhere = batchexport("doctor", "--os-cloud", "nowhere")
        wrong = batchexport("doctor", *CLOUD, "--os-password", "hunter2")
    assert nowhere.exit_code == 2
    assert nowhere.stdout.startswith("bad   configuration  cloud 'nowhere' is not in clouds.yaml")
    assert "hint: searched" in nowhere.stderr
    assert wrong.exit_code == 6
    assert wrong.stdout.startswith("bad   sign-in")
    assert "hunter2" not in wrong.output


def test_doctor_shows_what_went_well_before_a_list_was_refused(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise RefusedError("403 Forbidden: not for you", status=403)

    monkeypatch.setattr(ImageService, "get_quota", refuse)
    with served(*volumes()):
        result = batchexport("doctor", *CLOUD)
    assert result.exit_code == 6
    assert result.stdout.splitlines()[0].startswith("ok    sign-in")
    assert result.stdout.splitlines()[-1] == "bad   lists          403 Forbidden: not for you"


def test_doctor_tells_a_cloud_that_does_not_answer_from_a_wrong_password(
    batchexport: Callable[..., Result],
) -> None:
    define(clouds_yaml(unused_url()).replace("  sandbox:", "  served:"))
    result = batchexport("doctor", *CLOUD)
    assert result.exit_code == 6
    assert result.stdout.startswith("bad   connection")


def test_doctor_finds_a_reader_unfit(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = account_checks.of_account
    monkeypatch.setattr(account_checks, "of_account", lambda facts: told(replace(facts, roles=("reader",))))
    with served(*volumes()):
        result = batchexport("doctor", *CLOUD)
    assert result.exit_code == 6
    assert "bad   roles          reader: read only" in result.stdout


def test_a_server_that_cannot_be_stopped_is_found_by_the_plan_as_by_the_run(
    batchexport: Callable[..., Result],
) -> None:
    """One that the compute service does not know, and one that is paused."""
    paused = SandboxServer(server_id=PAUSED, name="web", volume_ids=IDS[1:2], status="PAUSED")
    listed = write(*IDS[:3])
    with served(*volumes(statuses=["in-use"]), servers=(paused,), force_upload=True):
        result = batchexport("plan", listed, *CLOUD, "--in-use", "stop", env={"COLUMNS": "200"})
        assert result.exit_code == 3, result.output
        assert "which the compute service does not know" in result.stdout
        assert "which is paused; only active ones are stopped" in result.stdout
        assert "3 rows: 1 to export, 2 cannot go" in result.stdout
        told = json.loads(batchexport("plan", listed, *CLOUD, "--in-use", "stop", "-f", "json").stdout)
    codes = [finding["code"] for finding in told["targets"][0]["findings"] if finding["code"] != "in_use"]
    assert codes == ["server_not_found", "server_status"]

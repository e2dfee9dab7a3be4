"""Properties and tags from the command line and job files to the images of the sandbox."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.lists import quick_ids, write_list
from tests.cli.served import IDS, served, volumes
from tests.cli.test_names import RUN
from tests.cli.test_run import QUICK


def labelled(journal: str) -> list[dict[str, Any]]:
    """The changes of images that a practice cloud accepted, by its own record."""
    events = [json.loads(line) for line in Path(journal).read_text().splitlines()]
    return [event for event in events if event.get("event") == "image_change"]


def test_flags_and_columns_reach_the_images_and_the_report(batchexport: Callable[..., Result]) -> None:
    volumes = write_list(
        Path("v.csv"), 2, header="volume_id,volume_name,property:tier,tags", row="{},db,gold,x"
    )
    flags = ("--property", "team=storage", "--tag", "nightly", "--tag", "weekly")
    result = batchexport("run", volumes, *QUICK, *flags)
    assert result.exit_code == 0, result.output
    changes = labelled("v.state.sandbox")
    assert len(changes) == 2  # one request for each image
    ids = set()
    for change in changes:
        properties = change["properties"]
        ids.add(properties["batchexport_volume_id"])
        assert (properties["tier"], properties["team"]) == ("gold", "storage")
        assert properties["batchexport_volume_name"]
        assert change["tags"] is None
    assert ids == set(quick_ids(2))
    assert "tags are not set: clouds of the family evs take none" in result.stderr
    report = batchexport("report", "v.state", "-f", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(report)))
    assert {row["image_properties"] for row in rows} == {'{"tier": "gold"}'}
    assert {row["image_tags"] for row in rows} == {"x"}
    Path("again.csv").write_text(report)
    assert batchexport("validate", "again.csv").exit_code == 0


def test_a_plain_run_changes_no_image(batchexport: Callable[..., Result]) -> None:
    assert batchexport("run", write_list(Path("v.csv")), *QUICK).exit_code == 0
    assert labelled("v.state.sandbox") == []


def test_provenance_alone(batchexport: Callable[..., Result]) -> None:
    assert batchexport("run", write_list(Path("v.csv"), 1), *QUICK, "--provenance").exit_code == 0
    (change,) = labelled("v.state.sandbox")
    assert change["properties"]["batchexport_line"] == "2"


def test_variables_hold_several(batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHEXPORT_PROPERTY", "team=block storage;tier=gold")
    assert batchexport("run", write_list(Path("v.csv"), 1), *QUICK).exit_code == 0
    (change,) = labelled("v.state.sandbox")
    assert (change["properties"]["team"], change["properties"]["tier"]) == ("block storage", "gold")


def test_a_job_file_says_what_is_set(batchexport: Callable[..., Result]) -> None:
    write_list(Path("v.csv"), 1)
    Path("job.toml").write_text(
        '[job]\nlist = "v.csv"\n[cloud]\nname = "sandbox"\n[limits]\nrequests_per_second = 0\n'
        'poll_interval = "0.1s"\n[image]\nproperties = { team = "storage" }\ntags = ["nightly"]\n'
        "provenance = false\n"
    )
    result = batchexport("run", "job.toml")
    assert result.exit_code == 0, result.output
    (change,) = labelled("v.state.sandbox")
    assert change["properties"] == {"team": "storage"}


def test_tags_reach_the_images_of_an_openstack_cloud(batchexport: Callable[..., Result]) -> None:
    Path("v.csv").write_text(f"volume_id,tags\n{IDS[0]},gold;x\n{IDS[1]},\n")
    with served(*volumes(), journal=Path("cloud.journal")):
        result = batchexport("run", "v.csv", "--tag", "nightly", *RUN)
    assert result.exit_code == 0, result.stderr
    first, second = sorted(labelled("cloud.journal"), key=lambda change: len(change["tags"]), reverse=True)
    assert set(first["tags"]) == {"gold", "x", "nightly"}
    assert second["tags"] == ["nightly"]


def test_plan_says_what_will_not_be_set(batchexport: Callable[..., Result]) -> None:
    volumes_list = write_list(Path("v.csv"), 1, header="volume_id,tags", row="{},x")
    result = batchexport("plan", volumes_list, "--os-cloud", "sandbox")
    assert "tags will not be set: evs does not support it" in result.output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--property", "team"], "not KEY=VALUE"),
        (["--property", "status=x"], "not for users to set"),
        (["--property", "a=1", "--property", "a=2"], "given twice"),
        (["--tag", "a,b"], "not a tag"),
        (["--tag", "a", "--dialect", "evs"], "tags are set, but evs takes none"),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_is_done(
    batchexport: Callable[..., Result], flags: list[str], words: str
) -> None:
    result = batchexport("run", write_list(Path("v.csv")), *QUICK, *flags)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not Path("v.state").exists()


@pytest.mark.parametrize("line", ['properties = "a=b"', "properties = { a = 1 }", 'tags = "a"', "tags = [1]"])
def test_a_job_file_that_is_wrong_about_them_is_refused(
    batchexport: Callable[..., Result], line: str
) -> None:
    write_list(Path("v.csv"), 1)
    Path("job.toml").write_text(f'[job]\nlist = "v.csv"\n[image]\n{line}\n')
    result = batchexport("validate", "job.toml")
    assert result.exit_code == 2
    assert f"[image] {line.split()[0]}" in result.stderr

"""Image names follow the rule of the cloud that takes them, whether or not anybody said which that is."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchexport.sandbox.settings import Profile
from tests.cli.served import IDS, served, volumes

RUN = ("--os-cloud", "served", "--requests-per-second", "0", "--poll-interval", "1")


def names_of(batchexport: Callable[..., Result], state: str = "v.state") -> dict[str, tuple[str, ...]]:
    rows = csv.DictReader(io.StringIO(batchexport("report", state, "-f", "csv").stdout))
    return {row["volume_id"]: (row["state"], row["image_name"], row["reason"]) for row in rows}


def test_cinder_takes_a_name_that_evs_would_not(batchexport: Callable[..., Result]) -> None:
    Path("v.csv").write_text(f"volume_id,image_name\n{IDS[0]},Büro: 40 %\n")
    with served(*volumes()):
        result = batchexport("run", "v.csv", *RUN)
    assert result.exit_code == 0, result.stderr
    assert names_of(batchexport)[IDS[0]][:2] == ("succeeded", "Büro: 40 %")


def test_names_of_volumes_stay_whole_on_cinder(batchexport: Callable[..., Result]) -> None:
    Path("v.csv").write_text(f"volume_id,volume_name\n{IDS[0]},База данных\n{IDS[1]},財務システム\n")
    with served(*volumes()):
        result = batchexport("run", "v.csv", "--name-template", "{volume_name}", *RUN)
    assert result.exit_code == 0, result.stderr
    assert [name for _, name, _ in names_of(batchexport).values()] == ["База данных", "財務システム"]


@pytest.mark.parametrize("more", [(), ("--no-preflight",)], ids=["preflight", "none"])
def test_on_evs_a_row_that_the_cloud_would_refuse_fails_in_words_and_the_others_go(
    batchexport: Callable[..., Result], more: tuple[str, ...]
) -> None:
    Path("v.csv").write_text(f"volume_id,image_name\n{IDS[0]},Büro\n{IDS[1]},plain\n")
    with served(*volumes(), profile=Profile.EVS):
        result = batchexport("run", "v.csv", *RUN, *more)
    assert result.exit_code == 3, result.stderr
    rows = names_of(batchexport)
    assert rows[IDS[1]][0] == "succeeded"
    state, _, reason = rows[IDS[0]]
    assert state == "failed"
    assert 'not sent: the image name has "ü" at position 2; evs takes 1 to 128 letters' in reason
    assert "--name-template" in reason


def test_validate_takes_what_either_cloud_does_and_holds_names_to_the_one_that_is_said(
    batchexport: Callable[..., Result],
) -> None:
    Path("v.csv").write_text(f"volume_id,image_name\n{IDS[0]},Büro\n")
    assert batchexport("validate", "v.csv").exit_code == 0
    refused = batchexport("validate", "v.csv", "--dialect", "evs")
    assert refused.exit_code == 2
    assert "--dialect cinder takes it" in refused.stderr


def test_one_format_that_no_row_can_have_is_one_reason(batchexport: Callable[..., Result]) -> None:
    rows = "".join(f"{volume_id},zvhd2\n" for volume_id in IDS[:3])
    Path("v.csv").write_text(f"volume_id,disk_format\n{rows}")
    with served(*volumes()):
        for state, more in (("a.state", ()), ("b.state", ("--no-preflight",))):
            assert batchexport("run", "v.csv", "--state", state, *RUN, *more).exit_code == 3
    states = ("a.state", "b.state")
    (reason,) = {row[2] for state in states for row in names_of(batchexport, state).values()}
    assert reason.startswith("not sent: disk format zvhd2 is not supported by cinder; allowed: raw, ")


def test_a_template_with_a_format_is_refused(batchexport: Callable[..., Result]) -> None:
    Path("v.csv").write_text(f"volume_id\n{IDS[0]}\n")
    result = batchexport("run", "v.csv", "--name-template", "{date:%Y}")
    assert result.exit_code == 2
    assert "allowed: {volume_id}" in result.stderr

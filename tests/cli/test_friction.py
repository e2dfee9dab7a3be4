"""Small things that people meet first: variables, paths and names as they are, our own output as input."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.clouds import define
from tests.cli.lists import write_list
from tests.cli.served import IDS, served, volumes

CLOUD = ("--os-cloud", "served")


def test_variables_of_any_command_are_known(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REPORT_FORMAT", "MAX_EXPORTS", "NAME_TEMPLATE", "EMIT_OUTPUT", "QUIET"):
        monkeypatch.setenv(f"BATCHEXPORT_{name}", "csv" if name == "REPORT_FORMAT" else "1")
    assert "no option reads" not in batchexport("validate", write_list(Path("v.csv"), 1)).stderr


def test_a_variable_that_each_command_has_for_itself_is_told_by_these_names(
    batchexport: Callable[..., Result],
) -> None:
    result = batchexport("validate", write_list(Path("v.csv"), 1), env={"BATCHEXPORT_START": "1"})
    assert (
        "BATCHEXPORT_START is read by no command; each has a variable of its own: BATCHEXPORT_SERVERS_START"
        in result.stderr
    )


def test_a_misspelt_variable_is_told_with_the_right_one(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHEXPORT_MAX_EXPORT", "7")
    result = batchexport("validate", write_list(Path("v.csv"), 1))
    assert result.exit_code == 0
    assert "BATCHEXPORT_MAX_EXPORT; did you mean BATCHEXPORT_MAX_EXPORTS?" in result.stderr


def test_a_folder_whose_name_is_not_utf8_is_no_trouble(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/d\xff"
    os.mkdir(folder)  # noqa: PTH102 - paths of bytes
    write_list(Path(os.fsdecode(folder)) / "v.csv", 1)
    program = [sys.executable, "-m", "batchexport"]
    lines: list[list[str | bytes]] = [
        ["run", folder + b"/v.csv", "--os-cloud", "sandbox", "--poll-interval", "1"],
        ["report", folder + b"/v.state", "-f", "json"],
        ["status", folder + b"/v.state"],
    ]
    for words in lines:
        result = subprocess.run([*program, *words], capture_output=True, check=False, cwd=tmp_path)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["123", "abc"])
def test_a_cloud_that_yaml_takes_for_a_number_is_told_by_name(
    batchexport: Callable[..., Result], name: str
) -> None:
    define('clouds:\n  123:\n    auth: {auth_url: "http://127.0.0.1:9/v3"}\n')
    result = batchexport("doctor", "--os-cloud", name)
    assert result.exit_code != 1
    assert "unexpected" not in result.output


def test_a_list_of_nothing_can_be_added_to(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        assert batchexport("discover", *CLOUD, "--name", "none-*", "-o", "v.csv").exit_code == 0
        added = batchexport("discover", *CLOUD, "-o", "v.csv", "--append")
    assert added.exit_code == 0, added.stderr
    assert "5 volumes match, 5 rows written to v.csv" in added.stderr


def test_one_of_a_thing_is_one(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        result = batchexport("discover", *CLOUD, "--name", "vol-1", "-o", "v.csv")
        none = batchexport("discover", *CLOUD, "--name", "none", "-o", "w.csv")
    assert "1 volume matches, 1 row written" in result.stderr
    assert none.stderr.splitlines() == ["no volume matches"]


def test_a_report_in_json_is_a_list(batchexport: Callable[..., Result]) -> None:
    write_list(Path("v.csv"), 2)
    with served(*volumes()):
        Path("v.csv").write_text("volume_id,timeout\n" + "".join(f"{each},90\n" for each in IDS[:2]))
        batchexport("run", "v.csv", *CLOUD, "--requests-per-second", "0", "--poll-interval", "1")
    batchexport("report", "v.state", "-f", "json", "-o", "again.json")
    result = batchexport("validate", "again.json")
    assert result.stdout == "again.json: 2 rows, no problems\n", result.stderr


def test_a_job_file_is_confirmed_beside_its_list(batchexport: Callable[..., Result]) -> None:
    write_list(Path("v.csv"), 2)
    Path("j.TOML").write_text('[job]\nlist = "v.csv"\n')
    assert batchexport("validate", "j.TOML").stdout.splitlines() == [
        "j.TOML: no problems in the job file",
        "v.csv: 2 rows, no problems",
    ]


def test_a_home_folder_in_a_job_file_is_that_of_the_user(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_list(tmp_path / "v.csv", 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("j.toml").write_text('[job]\nlist = "~/v.csv"\n')
    assert batchexport("validate", "j.toml").exit_code == 0


def test_a_password_in_a_job_file_is_told_where_it_belongs(batchexport: Callable[..., Result]) -> None:
    write_list(Path("v.csv"), 2)
    Path("j.toml").write_text('[job]\nlist = "v.csv"\n[cloud]\npassword = "s3cr3t"\n')
    result = batchexport("validate", "j.toml")
    assert "[cloud] password: belongs in the entry of clouds.yaml" in result.stderr
    assert "s3cr3t" not in result.stderr


def test_many_problems_of_a_kind_are_counted(batchexport: Callable[..., Result]) -> None:
    rows = "".join(f"vol-{number},a\n" for number in range(500))
    Path("v.csv").write_text(f"volume_id,image_name\n{rows}")
    lines = batchexport("validate", "v.csv").stderr.splitlines()
    assert len(lines) < 20
    assert lines[-1].strip() == "… and 490 more like the one before"


def test_a_value_that_stands_everywhere_is_a_short_line(batchexport: Callable[..., Result]) -> None:
    Path("v.csv").write_text("volume_id\n" + f"{IDS[0]}\n" * 5000)
    result = batchexport("validate", "v.csv")
    assert "and 4,989 more" in result.stderr
    assert len(result.stderr) < 1000


def test_what_a_terminal_would_act_on_is_escaped_in_errors(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", "http://127.0.0.1:9/v3\r\x9b")
    for name in ("USERNAME", "PASSWORD", "PROJECT_NAME", "USER_DOMAIN_NAME", "PROJECT_DOMAIN_NAME"):
        monkeypatch.setenv(f"OS_{name}", "x")
    result = batchexport("discover", "--sign-in-timeout", "0")
    assert result.exit_code in (2, 6)
    assert not set("\r\x9b") & set(result.stderr)


def test_json_holds_every_problem(batchexport: Callable[..., Result]) -> None:
    rows = "".join(f"vol-{number}\n" for number in range(500))
    Path("v.csv").write_text(f"volume_id\n{rows}")
    (line,) = batchexport("validate", "v.csv", "--log-format", "json").stderr.splitlines()
    assert len(json.loads(line)["problems"]) == 500


@pytest.mark.parametrize("word", ["yes", "no", "2", "true"])
def test_saying_more_may_be_asked_for_by_a_variable_in_words(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("BATCHEXPORT_VERBOSE", word)
    assert batchexport("validate", write_list(Path("v.csv"), 1)).exit_code == 0


def test_a_value_that_is_wrong_in_a_variable_is_told_with_its_name(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHEXPORT_ENCODING", "foo")
    result = batchexport("validate", write_list(Path("v.csv"), 1))
    assert result.stderr.startswith('error: --encoding (BATCHEXPORT_ENCODING): "foo" is not a text encoding')

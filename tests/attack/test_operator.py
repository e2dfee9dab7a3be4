"""Mistakes made at a desk late at night: each ends in words that say what, on what, and what next."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.attack.cloud import Cloud, Reply
from tests.attack.program import (
    QUICK,
    Ended,
    Inside,
    Program,
    environment,
    finish,
    until,
    volume_ids,
    write_list,
)


@pytest.fixture
def volumes(program: Program) -> list[str]:
    return write_list(program.folder / "v.csv", 3)


@pytest.fixture
def run(program: Program, volumes: list[str]) -> list[str]:
    return ["run", "v.csv", *QUICK]


def says(ended: Ended, *words: str) -> None:
    """The error names all of these, and a hint says what to do."""
    assert "hint:" in ended.err, ended.err
    assert [word for word in words if word not in ended.err] == [], ended.err


def test_no_cloud_at_all_says_how_to_name_one(tmp_path: Path) -> None:
    write_list(tmp_path / "v.csv", 1)
    ended = Inside(folder=tmp_path, env=environment(tmp_path)).run("run", "v.csv").check(2)
    says(ended, "--os-cloud", "OS_AUTH_URL")


def test_a_cloud_that_is_not_in_the_file_is_told_beside_those_that_are(
    inside: Inside, run: list[str]
) -> None:
    says(inside.run(*run, "--os-cloud", "prod").check(2), "'prod'", "known clouds: one")


def test_a_cloud_of_the_environment_that_is_not_in_the_file_is_told_too(
    inside: Inside, run: list[str]
) -> None:
    says(inside.run(*run, extra={"OS_CLOUD": "prod"}).check(2), "'prod'", "known clouds: one")


def test_a_clouds_yaml_with_a_slip_is_named(inside: Inside, run: list[str]) -> None:
    (inside.folder / "clouds.yaml").write_text("clouds: [\n")
    says(inside.run(*run).check(2), "clouds.yaml", "line")


@pytest.mark.parametrize(
    "text", ["clouds:\n", "clouds:\n  one:\n", "clouds:\n  one: 5\n", "[]", "5"], ids=repr
)
def test_a_clouds_yaml_of_another_shape_is_refused(inside: Inside, run: list[str], text: str) -> None:
    (inside.folder / "clouds.yaml").write_text(text)
    says(inside.run(*run).check(2))


def test_a_user_without_a_password_is_told_so(tmp_path: Path, quiet_cloud: Cloud) -> None:
    write_list(tmp_path / "v.csv", 1)
    inside = Inside(folder=tmp_path, env=environment(tmp_path))
    sign_in = ("--os-auth-url", f"{quiet_cloud.url}/identity/v3", "--os-username", "demo")
    says(inside.run("run", "v.csv", *sign_in).check(2), "password")


def test_a_wrong_password_says_where_it_was_refused(
    program: Program, quiet_cloud: Cloud, run: list[str]
) -> None:
    says(program.run(*run, "--os-password", "nope").check(6), quiet_cloud.url, "password")


def test_a_wrong_password_is_tried_once(inside: Inside, quiet_cloud: Cloud, run: list[str]) -> None:
    inside.run(*run, "--os-password", "nope").check(6)
    assert quiet_cloud.asked["token"] == 1


def test_an_address_where_nobody_listens_says_so(inside: Inside, run: list[str]) -> None:
    says(inside.run(*run, "--os-auth-url", "http://127.0.0.1:9/v3").check(6), "127.0.0.1:9", "refused")


def test_a_wrong_region_is_told_beside_the_right_one(inside: Inside, run: list[str]) -> None:
    says(inside.run(*run, "--os-region-name", "eu-de").check(2), "eu-de", "sandbox", "region")


def test_a_wrong_project_says_where_it_was_refused(inside: Inside, run: list[str]) -> None:
    says(inside.run(*run, "--os-project-name", "prodd").check(6), "project")


def test_a_cloud_without_an_image_service_says_so(inside: Inside, quiet_cloud: Cloud, run: list[str]) -> None:
    project = {"id": "p", "name": "demo", "domain": {"id": "default", "name": "Default"}}
    endpoint = {
        "interface": "public",
        "region": "sandbox",
        "url": f"{quiet_cloud.url}/volume/v3/p",
        "id": "e",
    }
    volume = {"type": "volumev3", "id": "s", "name": "c", "endpoints": [endpoint]}
    times = {"issued_at": "2026-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z"}
    token = json.dumps({"token": {"methods": ["password"], "project": project, **times, "catalog": [volume]}})
    answer = Reply(201, token, {"X-Subject-Token": "t", "Content-Type": "application/json"})
    quiet_cloud.lie = lambda kind, _: answer if kind == "token" else None
    says(inside.run(*run).check(2), "image service", "volumev3")


def test_a_folder_is_no_list(inside: Inside) -> None:
    says(inside.run("run", ".").check(2), "folder")


def test_a_list_that_excel_saved_works(inside: Inside, quiet_cloud: Cloud) -> None:
    ids = volume_ids(2)
    rows = "".join(f"{one};Böhm {place}\r\n" for place, one in enumerate(ids))
    (inside.folder / "x.csv").write_bytes(f"\ufeffvolume_id;image_name\r\n{rows}".replace("ö", "o").encode())
    inside.run("run", "x.csv", *QUICK).check(0)
    assert quiet_cloud.exports == dict.fromkeys(ids, 1)


def test_a_list_that_grew_goes_on_with_its_new_rows(
    inside: Inside, run: list[str], quiet_cloud: Cloud
) -> None:
    inside.run(*run).check(0)
    before = dict(quiet_cloud.exports)
    write_list(inside.folder / "v.csv", 4)
    assert "the list has changed: 1 new row" in inside.run(*run).check(0).err
    assert len(quiet_cloud.exports) == 4
    assert set(quiet_cloud.exports.values()) == {1}
    assert before.items() <= quiet_cloud.exports.items()


def test_another_disk_format_says_what_it_was(inside: Inside, run: list[str]) -> None:
    inside.run(*run).check(0)
    says(inside.run(*run, "--disk-format", "qcow2").check(5), "disk_format", "qcow2", "--state")


def test_a_slip_in_the_sign_in_does_not_fix_the_image_settings(
    inside: Inside, quiet_cloud: Cloud, run: list[str]
) -> None:
    inside.run(*run, "--os-password", "nope").check(6)
    inside.run(*run, "--disk-format", "qcow2").check(0)
    assert len(quiet_cloud.exports) == 3


def test_a_run_that_is_done_needs_no_cloud_any_more(inside: Inside, run: list[str]) -> None:
    inside.run(*run).check(0)
    inside.run(*run, "--os-password", "nope").check(0)


def test_a_list_from_stdin_works(inside: Inside, quiet_cloud: Cloud) -> None:
    text = "\n".join(["volume_id", *volume_ids(2)])
    inside.run("run", "-", "--state", "s.state", *QUICK, text=text).check(0)
    assert len(quiet_cloud.exports) == 2


def test_a_folder_of_the_state_file_that_is_not_there_ends_with_74(inside: Inside, run: list[str]) -> None:
    says(inside.run(*run, "--state", "no/where/v.state").check(74), "no/where/v.state", "--state")


def test_a_folder_that_cannot_be_written_ends_with_74(inside: Inside, run: list[str]) -> None:
    says(inside.run(*run, "--state", "/proc/v.state").check(74), "/proc/v.state", "--state")


def test_a_state_file_on_a_disk_that_is_read_only_ends_with_74(program: Program, run: list[str]) -> None:
    disk = program.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a disk that can be made read-only needs the right to mount a tmpfs")
    try:
        program.run(*run, "--state", "disk/v.state", "--os-password", "nope").check(6)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        says(program.run(*run, "--state", "disk/v.state").check(74), "disk/v.state")
        program.run("status", "disk/v.state").check(0)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_reader_who_goes_away_is_no_error(program: Program, run: list[str]) -> None:
    write_list(program.folder / "v.csv", 4000)
    program.run(*run, "--os-password", "nope").check(6)
    reader, writer = os.pipe()
    process = program.start("report", "v.state", stdout=writer)
    os.close(writer)
    os.read(reader, 10)
    os.close(reader)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_status_and_report_look_at_a_run_that_is_going(
    program: Program, quiet_cloud: Cloud, run: list[str]
) -> None:
    write_list(program.folder / "v.csv", 200)
    process = program.start(*run, "--requests-per-second", "20")
    until(lambda: quiet_cloud.asked["export"] > 3)
    status = program.run("status", "v.state").check(0)
    report = program.run("report", "v.state", "-f", "csv").check(0)
    process.terminate()
    finish(process).check(143)
    assert "running: process" in status.out
    assert report.out.count("\n") == 201


def test_a_second_run_beside_the_first_names_it(program: Program, quiet_cloud: Cloud, run: list[str]) -> None:
    write_list(program.folder / "v.csv", 200)
    process = program.start(*run, "--requests-per-second", "20")
    until(lambda: quiet_cloud.asked["export"] > 3)
    second = program.run(*run).check(4)
    process.terminate()
    finish(process).check(143)
    says(second, f"process {process.pid}")


def test_every_line_of_a_json_log_is_json(program: Program, run: list[str]) -> None:
    ended = program.run(*run, "-v", "--log-format", "json", "--os-auth-url", "http://127.0.0.1:9/v3").check(6)
    last = [json.loads(line) for line in ended.err.splitlines()][-1]
    assert (last["level"], last["error"]) == ("error", "UnreachableError")
    assert last["hint"]

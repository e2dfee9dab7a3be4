"""No password, token or secret gets into what the program says or keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.sandbox import SandboxSettings
from batchexport.sandbox import settings as account
from tests.attack.cloud import Cloud, Reply, cloud, some_that
from tests.attack.program import QUICK, Program, environment, finish, until, write_list

PASSWORD = "Tr0ub4dor-and-three"
SECRET = "kxe8-credential-9fq"
FORMS = pytest.mark.parametrize("form", ["text", "json"])


@pytest.fixture
def rough_cloud() -> Iterator[Cloud]:
    """A cloud where much goes wrong."""
    settings = some_that(SandboxSettings(time_scale=0), error_share=0.1, drop_share=0.2, fail_share=0.3)
    with cloud(settings, password=PASSWORD, secret=SECRET) as one:
        yield one


@pytest.fixture
def rough(tmp_path: Path, rough_cloud: Cloud) -> Program:
    (tmp_path / "clouds.yaml").write_text(rough_cloud.clouds_yaml())
    write_list(tmp_path / "v.csv", 12)
    return Program(folder=tmp_path, env=environment(tmp_path, OS_CLOUD="one"))


def told(folder: Path, *said: str) -> bytes:
    """All that was said and written, but for the files that a user wrote."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".yaml", ".csv")]
    return b"\n".join([*(text.encode() for text in said), *(file.read_bytes() for file in files)])


def assert_silent(text: bytes, *secrets: str) -> None:
    found = [secret for secret in secrets if secret.encode() in text]
    assert not found, text[max(0, text.find(found[0].encode()) - 300) :][:600]


@FORMS
def test_a_rough_run_tells_neither_password_nor_token(rough: Program, rough_cloud: Cloud, form: str) -> None:
    ended = rough.run(
        "run", "v.csv", *QUICK, "--retries", "0", "-vv", "--log-format", form, driver="hurry.py"
    )
    assert ended.code in (0, 3)
    reports = [rough.run("report", "v.state", "-f", form).out for form in ("table", "csv", "json")]
    assert rough_cloud.tokens
    assert_silent(told(rough.folder, ended.out, ended.err, *reports), PASSWORD, *rough_cloud.tokens)


@FORMS
def test_a_refused_password_is_not_told(rough: Program, form: str) -> None:
    ended = rough.run("run", "v.csv", "--os-password", "my-0ld-passw0rd", "-vv", "--log-format", form)
    assert ended.code == 6
    assert_silent(told(rough.folder, ended.out, ended.err), PASSWORD, "my-0ld-passw0rd")


def test_a_password_that_the_cloud_repeats_is_not_told(rough: Program, rough_cloud: Cloud) -> None:
    echo = json.dumps({"error": {"code": 500, "message": f"cannot handle password={PASSWORD}"}})
    rough_cloud.lie = lambda kind, _: Reply(500, echo) if kind == "token" else None
    ended = rough.run("run", "v.csv", "-vv")
    assert ended.code == 6
    assert_silent(told(rough.folder, ended.out, ended.err), PASSWORD)


def test_a_token_that_the_cloud_repeats_is_not_told(rough: Program, rough_cloud: Cloud) -> None:
    def lie(kind: str, _: str) -> Reply | None:
        if kind != "export":
            return None
        token = next(iter(rough_cloud.tokens))
        return Reply(400, json.dumps({"badRequest": {"message": f"odd: {token}", "code": 400}}))

    rough_cloud.lie = lie
    ended = rough.run("run", "v.csv", *QUICK, "-vv").check(3)
    report = rough.run("report", "v.state").out
    assert_silent(told(rough.folder, ended.out, ended.err, report), *rough_cloud.tokens)


def test_the_secret_of_an_application_credential_is_not_told(rough: Program, rough_cloud: Cloud) -> None:
    sign_in = {
        "auth-type": "v3applicationcredential",
        "auth-url": f"{rough_cloud.url}/identity/v3",
        "application-credential-id": account.APPLICATION_CREDENTIAL_ID,
        "application-credential-secret": SECRET,
        "region-name": account.REGION,
    }
    (rough.folder / "clouds.yaml").unlink()
    words = [word for name, value in sign_in.items() for word in (f"--os-{name}", value)]
    ended = rough.run(
        "run", "v.csv", *QUICK, "--retries", "0", "-vv", *words, driver="hurry.py", extra={"OS_CLOUD": ""}
    )
    assert ended.code in (0, 3), ended
    assert rough_cloud.tokens
    assert_silent(told(rough.folder, ended.out, ended.err), SECRET, *rough_cloud.tokens)


def test_the_state_file_and_its_log_hold_no_secret_while_a_run_goes(
    rough: Program, rough_cloud: Cloud
) -> None:
    write_list(rough.folder / "v.csv", 40)
    process = rough.start("run", "v.csv", *QUICK, "--requests-per-second", "20", "-vv")
    until(lambda: rough_cloud.asked["export"] > 10)
    assert (rough.folder / "v.state-wal").exists()
    text = told(rough.folder)
    process.terminate()
    ended = finish(process)
    assert_silent(text + ended.err.encode(), PASSWORD, *rough_cloud.tokens)


def test_only_the_owner_may_read_the_state_file(rough: Program) -> None:
    rough.run("run", "v.csv", "--os-password", "wrong").check(6)
    assert (rough.folder / "v.state").stat().st_mode & 0o077 == 0

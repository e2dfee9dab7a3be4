"""Slips in a sign-in's settings are told with what is wrong and what to do; files of others are noticed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchexport.cloud.auth.access_keys import RequestSigner
from batchexport.cloud.auth.clouds_yaml import file_warnings, untrusted_reason
from batchexport.cloud.connection import load_account
from batchexport.config.settings import CloudSettings
from batchexport.errors import ConfigError
from batchexport.model import TargetKey

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")
AUTH = {
    "auth_url": "http://127.0.0.1:1/v3",
    "username": "demo",
    "password": "s3cret-word",
    "project_name": "demo",
    "user_domain_name": "Default",
    "project_domain_name": "Default",
}
CREDENTIAL = {
    "auth_url": "http://127.0.0.1:1/v3",
    "application_credential_id": "a1",
    "application_credential_secret": "s3cret-word",
}


@pytest.fixture
def clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("OS_", "HUAWEICLOUD_")):
            monkeypatch.delenv(name)
    path = tmp_path / "clouds.yaml"
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    return path


def told(clouds: Path, content: Any, cloud: str | None = "c") -> str:
    clouds.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())
    with pytest.raises(ConfigError) as caught:
        load_account(TargetKey(), CloudSettings(cloud=cloud))
    assert "s3cret-word" not in f"{caught.value} {caught.value.hint}"
    return f"{caught.value}; {caught.value.hint}"


def entry(**entry: Any) -> dict[str, Any]:
    return {"clouds": {"c": entry}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (entry(auth=CREDENTIAL), "auth_type: v3applicationcredential"),
        (entry(auth={"auth_url": "http://x/v3", "token": "t"}), "auth_type: token"),
        (entry(auth=AUTH, auth_type="v2password"), "v2password does not accept user_domain_name"),
        (entry(auth=[{"auth_url": "x"}]), "'c' has the wrong structure"),
        (["clouds"], "clouds.yaml"),
        (entry(auth=AUTH, region_name=False), "region_name is not a string"),
        (entry(auth=AUTH, verify="False"), "verify is the string 'False'.*without quotes"),
        (entry(auth={**AUTH, "auth_url": "keystone/v3"}), "'keystone/v3' does not begin with http"),
        (
            entry(auth={"auth_url": "http://x/v3", "username": "u"}),
            "missing for auth_type password: password",
        ),
        (entry(auth=AUTH, auth_type="v3nosuch"), "v3nosuch"),
        ({"clouds": {123: {"auth": AUTH}}}, 'quotes: "123"'),
        ("clouds: {}".encode("utf-16"), r"clouds\.yaml is not UTF-8"),
        (b"clouds:\n  c: [\n", r"clouds\.yaml, line \d+: not YAML"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_slip_is_told_with_what_to_do(clouds: Path, content: Any, words: str) -> None:
    name = "123" if "123" in words else "c"
    import re

    assert re.search(words, told(clouds, content, name))


def test_a_file_that_is_named_and_not_there_is_told(clouds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "~/nowhere.yaml")
    assert "names ~/nowhere.yaml, which does not exist; ~ is not expanded" in told(clouds, entry(auth=AUTH))


def test_a_folder_in_the_place_of_a_file_is_told(clouds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds.parent))
    assert "cannot be read: Is a directory" in told(clouds, entry(auth=AUTH))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_told(clouds: Path) -> None:
    clouds.write_text("clouds: {}")
    clouds.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_account(TargetKey(), CloudSettings(cloud="c"))


@pytest.mark.parametrize("by", ["variables", "HUAWEICLOUD"])
def test_a_password_beside_an_access_key_signs_in(
    clouds: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    clouds.write_text("clouds: {}\n")
    for name, text in AUTH.items():
        monkeypatch.setenv(f"OS_{name.upper()}", text)
    names = (
        ("OS_ACCESS_KEY", "OS_SECRET_KEY")
        if by == "variables"
        else ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK")
    )
    for name in names:
        monkeypatch.setenv(name, "k")
    assert not load_account(TargetKey(), CloudSettings()).unverified


def test_access_keys_by_variable_go_to_the_cloud_of_auth_url(
    clouds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds.write_text("clouds: {}\n")
    monkeypatch.setenv("OS_AUTH_URL", "https://iam.cloud.invalid/v3")
    monkeypatch.setenv("OS_REGION_NAME", "r1")
    monkeypatch.setenv("OS_PROJECT_ID", "7e3f1d5b90a84c62b7d0c8f4a1e69325")
    monkeypatch.setenv("OS_ACCESS_KEY", "a")
    monkeypatch.setenv("OS_SECRET_KEY", "b")
    account = load_account(TargetKey(), CloudSettings())
    assert isinstance(account.authenticator, RequestSigner)
    assert {entry.url.split("/")[2] for entry in account.authenticator.catalog} == {
        f"{name}.r1.cloud.invalid" for name in ("evs", "ims", "ecs")
    }


def test_an_account_says_where_it_is_described_and_that_certificates_are_not_checked(clouds: Path) -> None:
    clouds.write_text(yaml.safe_dump(entry(auth=AUTH, verify=False, region_name="r")))
    clouds.chmod(0o600)
    account = load_account(TargetKey(), CloudSettings(cloud="c"))
    assert account.config_files == (str(clouds),)
    (note,) = account.notes
    assert "certificates are not verified" in note


def test_a_user_without_a_home_needs_none(clouds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    clouds.write_text(yaml.safe_dump(entry(auth=AUTH, region_name="r")))
    assert load_account(TargetKey(), CloudSettings(cloud="c")).cloud == "c"


def test_files_that_others_can_write_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text("")
    path.chmod(0o600)
    assert untrusted_reason(path) is None
    assert file_warnings(str(path), None) == ()
    path.chmod(0o666)
    assert untrusted_reason(path) == "is writable by everyone"
    (note,) = file_warnings(str(path), None)
    assert str(path) in note
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    assert "everyone can write" in str(untrusted_reason(path))
    tmp_path.chmod(0o1777)
    assert untrusted_reason(path) is None


def test_secrets_of_another_folder_are_not_joined_with_a_planted_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, home = tmp_path / "jobs", tmp_path / "home"
    for folder in (jobs, home):
        folder.mkdir()
    planted, secure = jobs / "clouds.yaml", home / "secure.yaml"
    planted.write_text("")
    secure.write_text("")
    planted.chmod(0o666)
    monkeypatch.chdir(jobs)
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE", raising=False)
    with pytest.raises(ConfigError, match="do not go there") as caught:
        file_warnings(str(planted), str(secure))
    assert "OS_CLIENT_CONFIG_FILE" in str(caught.value.hint)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(planted))
    assert file_warnings(str(planted), str(secure))
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE")
    planted.chmod(0o600)
    assert file_warnings(str(planted), str(secure)) == ()

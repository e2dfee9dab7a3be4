"""Accounts that need no openstacksdk, and those that do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchexport.cloud.auth.account import EnvironmentAccount, plain_account
from batchexport.config import CloudSettings
from batchexport.model import TargetKey

PASSWORD = {
    "OS_AUTH_URL": "https://keystone.example/v3/",
    "OS_USERNAME": "demo",
    "OS_PASSWORD": "secret",
    "OS_PROJECT_NAME": "demo",
    "OS_USER_DOMAIN_NAME": "Default",
    "OS_PROJECT_DOMAIN_ID": "default",
}
APPLICATION = {
    "OS_AUTH_TYPE": "v3applicationcredential",
    "OS_AUTH_URL": "https://keystone.example/v3",
    "OS_APPLICATION_CREDENTIAL_ID": "a1",
    "OS_APPLICATION_CREDENTIAL_SECRET": "secret",
}


def found(
    tmp_path: Path,
    environment: dict[str, str],
    *,
    key: TargetKey = TargetKey(),  # noqa: B008 - a tuple
    access: CloudSettings | None = None,
) -> EnvironmentAccount | None:
    shared = {"XDG_CONFIG_DIRS": str(tmp_path / "xdg")}
    return plain_account(
        key, access or CloudSettings(), shared | environment, home=tmp_path / "home", folder=tmp_path
    )


def test_a_password_in_variables_is_enough(tmp_path: Path) -> None:
    account = found(tmp_path, PASSWORD)
    assert account is not None
    assert (account.auth_url, account.region, account.interface) == (
        "https://keystone.example/v3",
        None,
        "public",
    )
    assert (account.credentials["username"], account.credentials["project_domain_id"]) == ("demo", "default")
    assert "secret" not in repr(account)


def test_an_application_credential_is_told_of_no_project(tmp_path: Path) -> None:
    account = found(tmp_path, APPLICATION | {"OS_PROJECT_NAME": "demo", "OS_REGION_NAME": "r1"})
    assert account is not None
    assert account.region == "r1"
    assert account.credentials == {
        "application_credential_id": "a1",
        "application_credential_secret": "secret",
    }


def test_flags_win_over_variables_and_the_row_over_both(tmp_path: Path) -> None:
    access = CloudSettings(options={"username": "other", "region_name": "flag", "interface": "internal"})
    account = found(tmp_path, PASSWORD | {"OS_REGION_NAME": "env"}, access=access)
    assert account is not None
    assert (account.credentials["username"], account.region, account.interface) == (
        "other",
        "flag",
        "internal",
    )
    row = found(tmp_path, PASSWORD, access=access, key=TargetKey(region="row"))
    assert row is not None
    assert row.region == "row"


@pytest.mark.parametrize(
    "more",
    [
        {"OS_CLOUD": "prod"},
        {"OS_TRUST_ID": "t1"},
        {"OS_CLIENT_CONFIG_FILE": "/etc/clouds.yaml"},
        {"OS_AUTH_URL": "https://keystone.example"},
        {"OS_AUTH_URL": "https://keystone.example/v2.0"},
        {"OS_IDENTITY_API_VERSION": "2"},
        {"OS_AUTH_TYPE": "v3oidcpassword"},
        {"OS_AUTH_TYPE": "v3applicationcredential"},
        {"OS_PASSWORD": ""},
        {"SNAP_REAL_HOME": "/home/demo"},
        {"OS_BLOCK_STORAGE_ENDPOINT_OVERRIDE": "http://x"},
    ],
    ids=str,
)
def test_everything_else_is_for_openstacksdk(tmp_path: Path, more: dict[str, str]) -> None:
    assert found(tmp_path, PASSWORD | more) is None


@pytest.mark.parametrize("key", [TargetKey(cloud="prod"), TargetKey(project="other")])
def test_a_row_that_names_a_cloud_or_project_is_for_openstacksdk(tmp_path: Path, key: TargetKey) -> None:
    assert found(tmp_path, PASSWORD, key=key) is None


def test_versions_of_services_do_not_matter(tmp_path: Path) -> None:
    assert found(tmp_path, PASSWORD | {"OS_VOLUME_API_VERSION": "3", "OS_IDENTITY_API_VERSION": "3"})


@pytest.mark.parametrize("place", [".", "home/.config/openstack", "xdg/openstack"])
@pytest.mark.parametrize("name", ["clouds.yaml", "secure.yml"])
def test_a_file_of_openstacksdk_is_never_passed_over(tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / name).write_text("")
    assert found(tmp_path, PASSWORD) is None


def test_other_systems_keep_their_files_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert found(tmp_path, PASSWORD) is None


def test_no_other_library_is_loaded_for_a_password_in_variables(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from batchexport.cloud.connection import load_account\n"
        "from batchexport.config import CloudSettings\n"
        "from batchexport.model import TargetKey\n"
        "load_account(TargetKey(), CloudSettings())\n"
        "print('openstack' in sys.modules, 'keystoneauth1' in sys.modules)\n"
    )
    others = {name: text for name, text in os.environ.items() if not name.startswith(("OS_", "HUAWEI"))}
    places = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)}
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=others | PASSWORD | places | {"PYTHONPATH": root},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["False", "False"]

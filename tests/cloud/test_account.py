"""Which account a configuration means, where it has access keys; nothing is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from batchexport.cloud.auth.access_keys import RequestSigner
from batchexport.cloud.auth.account import Account
from batchexport.cloud.auth.tokens import TokenSource
from batchexport.cloud.catalog import find_block_storage, find_image_service
from batchexport.cloud.connection import load_account
from batchexport.config.settings import CloudSettings
from batchexport.dialect import DialectName
from batchexport.errors import ConfigError
from batchexport.model import TargetKey

# openstacksdk warns about an option of its own, whether it is used or not.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

PROJECT = "c344706a7e90438994fbf96c2c9627bd"
SIGN_IN = {
    "username": "u",
    "password": "p",
    "project_name": "demo",
    "user_domain_name": "OTC-EU-DE-1",
    "project_domain_name": "OTC-EU-DE-1",
}
CLOUDS = {
    "otc": {"profile": "otc", "auth": SIGN_IN},
    "otc-with-keys-for-obs": {"profile": "otc", "auth": SIGN_IN, "access_key": "A", "secret_key": "S"},
    "otc-by-key": {"profile": "otc", "ak": "A", "sk": "S", "auth": {"project_id": PROJECT}},
    "asked-for": {"auth_type": "aksk", "region_name": "eu-nl", "auth": {"project_id": PROJECT}},
    "own-endpoint": {
        "region_name": "r1",
        "access_key": "A",
        "secret_key": "S",
        "auth": {"project_id": PROJECT, "auth_url": "https://keystone.example/v3"},
        "evs_endpoint_override": "https://storage.example/v2",
        "image_endpoint_override": "https://images.example",
    },
    "cinder-behind-keys": {
        "region_name": "r1",
        "access_key": "A",
        "secret_key": "S",
        "auth": {"project_id": PROJECT},
        "block_storage_endpoint_override": "https://storage.example/v3",
        "cacert": "/etc/ssl/own.pem",
    },
}


@pytest.fixture(autouse=True)
def clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("OS_", "HUAWEICLOUD_")):
            monkeypatch.delenv(name)
    path = tmp_path / "clouds.yaml"
    path.write_text(yaml.safe_dump({"clouds": CLOUDS}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    return path


def load(cloud: str | None, *, region: str | None = None, dialect: str | None = None) -> Account:
    return load_account(TargetKey(cloud=cloud, region=region), CloudSettings(dialect=dialect))


def test_of_an_entry_alone_no_variable_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load("otc")
    monkeypatch.setenv("OS_AUTH_URL", "https://elsewhere.example/v3")
    assert load("otc").identity_url == "https://elsewhere.example/v3"  # as the `openstack` client does it
    alone = load_account(TargetKey(cloud="otc"), CloudSettings(cloud="otc", entry_alone=True))
    assert (alone.identity_url, alone.preferences) == (plain.identity_url, plain.preferences)


def addresses(account: Account) -> tuple[str, str, DialectName]:
    """Where block storage and images are by the account alone, and what is spoken there."""
    assert isinstance(account.authenticator, RequestSigner)
    held = account.authenticator
    storage, dialect = find_block_storage(held.catalog, account.preferences, project_id=held.project_id)
    return storage.url, find_image_service(held.catalog, account.preferences).url, dialect.name


@pytest.mark.parametrize("cloud", ["otc", "otc-with-keys-for-obs"])
def test_a_vendor_profile_signs_in_for_a_token(cloud: str) -> None:
    account = load(cloud, region="eu-de")
    assert isinstance(account.authenticator, TokenSource)
    assert not account.unverified


def test_a_vendor_profile_with_a_key_knows_where_its_services_are() -> None:
    account = load("otc-by-key", region="eu-nl")
    assert account.unverified
    assert addresses(account) == (
        f"https://evs.eu-nl.otc.t-systems.com/v2/{PROJECT}",
        "https://ims.eu-nl.otc.t-systems.com/v2",
        DialectName.EVS,
    )


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs an access key"):
        load("asked-for")
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "A")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "S")
    assert addresses(load("asked-for"))[0] == f"https://evs.eu-nl.otc.t-systems.com/v2/{PROJECT}"


@pytest.mark.parametrize(
    "names",
    [
        ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_PROJECT_ID"),
        ("OS_ACCESS_KEY", "OS_SECRET_KEY", "OS_PROJECT_ID"),
    ],
)
def test_the_environment_alone_is_enough(
    clouds: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    clouds.write_text("clouds: {}\n")
    for name, text in zip(names, ("A", "S", PROJECT), strict=True):
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("OS_REGION_NAME", "ap-southeast-3")
    assert addresses(load(None)) == (
        f"https://evs.ap-southeast-3.myhuaweicloud.com/v2/{PROJECT}",
        "https://ims.ap-southeast-3.myhuaweicloud.com/v2",
        DialectName.EVS,
    )


def test_overrides_replace_the_rule() -> None:
    assert addresses(load("own-endpoint")) == (
        f"https://storage.example/v2/{PROJECT}",
        "https://images.example/v2",
        DialectName.EVS,
    )


def test_a_named_dialect_wins() -> None:
    account = load("cinder-behind-keys", dialect="cinder")
    assert addresses(account)[0::2] == (f"https://storage.example/v3/{PROJECT}", DialectName.CINDER)
    assert account.tls.authorities == "/etc/ssl/own.pem"


def test_a_region_that_is_not_named_is_asked_for(clouds: Path) -> None:
    clouds.write_text(
        yaml.safe_dump({"clouds": {"bare": {"ak": "A", "sk": "S", "auth": {"project_id": PROJECT}}}})
    )
    with pytest.raises(ConfigError, match="no block storage") as caught:
        addresses(load("bare"))
    assert "region" in str(caught.value.hint)

from __future__ import annotations

from collections.abc import Mapping

import pytest

from batchexport.cloud.auth.access_keys import AccessKey, find_access_key, project_of, service_entries
from batchexport.errors import ConfigError

KEY = AccessKey(access="A", secret="S")
PROJECT = "c344706a7e90438994fbf96c2c9627bd"
OTHER_PROJECT = "7e3f1d5b90a84c62b7d0c8f4a1e69325"
HUAWEI = {"HUAWEICLOUD_SDK_AK": "A", "HUAWEICLOUD_SDK_SK": "S"}


@pytest.mark.parametrize(
    ("config", "environment"),
    [
        ({"access_key": "A", "secret_key": "S"}, {}),
        ({"ak": "A", "sk": "S", "auth_type": "password"}, {}),
        ({"auth": {"access_key": "A", "secret_key": "S"}}, {"OS_ACCESS_KEY": "B", "OS_SECRET_KEY": "T"}),
        ({}, {"OS_ACCESS_KEY": "A", "OS_SECRET_KEY": "S", "HUAWEICLOUD_SDK_AK": "B"}),
        ({"auth": {"username": "u"}}, HUAWEI),
        ({"auth": {"password": "p"}, "auth_type": "aksk"}, HUAWEI),
    ],
)
def test_a_key_is_found(config: Mapping[str, object], environment: Mapping[str, str]) -> None:
    assert find_access_key(config, environment) == KEY


@pytest.mark.parametrize(
    "config",
    [
        {"auth": {"password": "p"}, "access_key": "A", "secret_key": "S"},
        {"auth": {"token": "t"}},
        {"auth": {"application_credential_secret": "s"}},
        {"auth_type": "v3oidcpassword"},
    ],
)
def test_a_key_beside_another_way_to_sign_in_is_for_something_else(config: Mapping[str, object]) -> None:
    assert find_access_key(config, HUAWEI) is None


def test_no_key_is_no_key() -> None:
    assert find_access_key({"auth": {"username": "u"}}, {}) is None


@pytest.mark.parametrize(
    ("config", "environment", "security_token"),
    [
        ({"ak": "A", "sk": "S", "security_token": "t"}, {}, "t"),
        ({}, HUAWEI | {"HUAWEICLOUD_SDK_SECURITY_TOKEN": "t"}, "t"),
        ({}, {"OS_ACCESS_KEY": "A", "OS_SECRET_KEY": "S", "OS_SECURITY_TOKEN": "t"}, "t"),
        ({"ak": "A", "sk": "S"}, {"OS_SECURITY_TOKEN": "of another key"}, None),
    ],
)
def test_a_security_token_comes_from_where_its_key_does(
    config: Mapping[str, object], environment: Mapping[str, str], security_token: str | None
) -> None:
    found = find_access_key(config, environment)
    assert found is not None
    assert found.security_token == security_token


@pytest.mark.parametrize(
    ("config", "environment", "words"),
    [
        ({"ak": "A"}, HUAWEI, "access_key is set, secret_key is not"),
        ({"sk": "S"}, {}, "secret_key is set, access_key is not"),
        ({}, {"HUAWEICLOUD_SDK_AK": "A"}, "HUAWEICLOUD_SDK_AK is set, HUAWEICLOUD_SDK_SK is not"),
        ({"auth_type": "aksk"}, {}, "needs an access key"),
    ],
)
def test_half_a_pair_is_an_error_that_names_the_other_half(
    config: Mapping[str, object], environment: Mapping[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        find_access_key(config, environment)


@pytest.mark.parametrize(
    ("auth", "environment", "wanted", "found"),
    [
        ({"project_id": PROJECT}, {"HUAWEICLOUD_SDK_PROJECT_ID": OTHER_PROJECT}, None, PROJECT),
        ({}, {"HUAWEICLOUD_SDK_PROJECT_ID": PROJECT}, None, PROJECT),
        ({"project_id": OTHER_PROJECT}, {}, PROJECT, PROJECT),
        ({"project_id": PROJECT, "project_name": "demo"}, {}, "demo", PROJECT),
    ],
)
def test_the_project_is_known_by_its_id(
    auth: Mapping[str, str], environment: Mapping[str, str], wanted: str | None, found: str
) -> None:
    assert project_of({"auth": auth}, environment, wanted=wanted) == found


@pytest.mark.parametrize(
    ("auth", "wanted", "words"),
    [
        ({}, None, "none is set"),
        ({"project_id": "demo"}, None, "'demo' is not one"),
        ({"project_id": PROJECT, "project_name": "demo"}, "second", "'second' is not one"),
    ],
)
def test_a_projects_name_is_not_enough(auth: Mapping[str, str], wanted: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        project_of({"auth": auth}, {}, wanted=wanted)


@pytest.mark.parametrize(
    ("region", "auth_url", "evs"),
    [
        ("eu-de", None, "https://evs.eu-de.otc.t-systems.com"),
        ("eu-west-0", None, "https://evs.eu-west-0.prod-cloud-ocb.orange-business.com"),
        ("ap-southeast-3", None, "https://evs.ap-southeast-3.myhuaweicloud.com"),
        ("eu-nl", "https://iam.eu-nl.otc.t-systems.com:443/v3", "https://evs.eu-nl.otc.t-systems.com"),
        ("cn-north-4", "https://iam.myhuaweicloud.com/v3", "https://evs.cn-north-4.myhuaweicloud.com"),
        ("r1", "https://iam.r1.cloud.example/v3", "https://evs.r1.cloud.example"),
        (
            "eu-ch2",
            "https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3",
            "https://evs-pub.eu-ch2.sc.otc.t-systems.com",
        ),
    ],
)
def test_the_services_are_beside_the_identity_service(region: str, auth_url: str | None, evs: str) -> None:
    entries = service_entries(region, auth_url, interface="public")
    assert [(entry.service_type, entry.region) for entry in entries] == [
        ("evs", region),
        ("ims", region),
        ("ecs", region),
    ]
    assert entries[0].url == evs
    assert entries[1].url == evs.replace("//evs", "//ims")


@pytest.mark.parametrize(
    ("region", "auth_url"),
    [(None, None), ("", None), ("r1", "https://keystone.example/v3"), ("r1", "nonsense")],
)
def test_where_the_services_are_is_not_guessed(region: str | None, auth_url: str | None) -> None:
    assert service_entries(region, auth_url, interface="public") == ()

from __future__ import annotations

from typing import Any

import pytest
import yaml

from batchexport.sandbox import SandboxSettings, clouds_yaml
from batchexport.sandbox.settings import (
    APPLICATION_CREDENTIAL_ID,
    APPLICATION_CREDENTIAL_NAME,
    APPLICATION_CREDENTIAL_SECRET,
    PROJECT_ID,
    USER_ID,
)
from tests.sandbox.asking import IMAGES, V2, V3, Asker, asking, by_password

UNAUTHORIZED = {
    "error": {
        "code": 401,
        "message": "The request you have made requires authentication.",
        "title": "Unauthorized",
    }
}
USER = {"name": "demo", "domain": {"id": "default"}}


def by_credential(secret: str = APPLICATION_CREDENTIAL_SECRET, **which: Any) -> dict[str, Any]:
    return {"methods": ["application_credential"], "application_credential": {"secret": secret, **which}}


async def test_a_token_comes_with_a_catalog_of_every_service(asker: Asker) -> None:
    answer = await asker.sign_in(identity=by_password())
    assert answer.status == 201
    token = answer.json["token"]
    assert token["project"]["id"] == PROJECT_ID
    assert token["issued_at"] == "2027-01-15T08:00:00.000000Z"
    assert token["expires_at"] == "2027-01-15T09:00:00.000000Z"
    urls = {service["type"]: service["endpoints"][0]["url"] for service in token["catalog"]}
    assert urls == {
        "identity": f"{asker.sandbox.url}/identity/v3",
        "image": f"{asker.sandbox.url}/image",
        "volumev2": f"{asker.sandbox.url}{V2}",
        "volumev3": f"{asker.sandbox.url}{V3}",
        "block-storage": f"{asker.sandbox.url}{V3}",
        "compute": f"{asker.sandbox.url}/compute/v2.1",
    }


@pytest.mark.parametrize(
    "identity",
    [
        by_password(),
        {"methods": ["password"], "password": {"user": {"id": USER_ID, "password": "sandbox"}}},
        by_credential(id=APPLICATION_CREDENTIAL_ID),
        by_credential(name=APPLICATION_CREDENTIAL_NAME, user=USER),
    ],
)
async def test_the_user_may_sign_in_in_each_way(asker: Asker, identity: dict[str, Any]) -> None:
    asker.token = (await asker.sign_in(identity=identity)).headers["X-Subject-Token"]
    assert (await asker.get(IMAGES)).status == 200


async def test_a_token_buys_another_token(asker: Asker) -> None:
    identity = {"methods": ["token"], "token": {"id": asker.token}}
    assert (await asker.sign_in(identity=identity)).status == 201


@pytest.mark.parametrize(
    "identity",
    [
        by_password("wrong"),
        by_password(user="nobody"),
        {"methods": ["password"], "password": {"user": {"name": "demo", "password": "sandbox"}}},
        {"methods": ["password"], "password": {"user": {"id": "another", "password": "sandbox"}}},
        by_credential("wrong", id=APPLICATION_CREDENTIAL_ID),
        by_credential(id="another"),
        by_credential(name=APPLICATION_CREDENTIAL_NAME),
        {"methods": ["token"], "token": {"id": "forged"}},
        {"methods": ["totp"]},
        {"methods": []},
    ],
)
async def test_nobody_else_may_sign_in(asker: Asker, identity: dict[str, Any]) -> None:
    answer = await asker.sign_in(identity=identity)
    assert (answer.status, answer.json) == (401, UNAUTHORIZED)
    assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{asker.sandbox.url}/identity/v3"'


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"project": {"id": PROJECT_ID}}, 201),
        ({"project": {"name": "demo", "domain": {"name": "Default"}}}, 201),
        ({"project": {"name": "demo"}}, 401),
        ({"project": {"id": "another"}}, 401),
        ({"domain": {"id": "default"}}, 401),
        ("unscoped", 401),
    ],
)
async def test_there_is_one_project_to_sign_in_to(asker: Asker, scope: object, status: int) -> None:
    assert (await asker.sign_in(identity=by_password(), scope=scope)).status == status


@pytest.mark.parametrize(("body", "words"), [(b"{}", "Expecting to find auth"), (b"{", "find valid JSON")])
async def test_a_malformed_sign_in_is_a_bad_request(asker: Asker, body: bytes, words: str) -> None:
    answer = await asker.ask("POST", "/identity/v3/auth/tokens", data=body)
    assert answer.status == answer.json["error"]["code"] == 400
    assert words in answer.json["error"]["message"]


async def test_each_service_refuses_an_expired_token_in_its_own_words() -> None:
    async with asking(SandboxSettings(token_life_s=60.0)) as asker:
        asker.clock.at += 59.9
        assert (await asker.get(IMAGES)).status == 200
        asker.clock.at += 0.1
        volumes = await asker.get(f"{V3}/volumes")
        assert (volumes.status, volumes.json) == (401, UNAUTHORIZED)
        images = await asker.get(IMAGES, headers={"Accept": "application/json"})
        assert (images.status, images.json["code"]) == (401, "401 Unauthorized")
        assert images.json["message"].startswith("This server could not verify that you are authorized")
        assert (await asker.get(IMAGES)).text.startswith("401 Unauthorized\n\nThis server could not verify")


async def test_a_revoked_token_is_refused_and_a_new_one_taken(asker: Asker) -> None:
    asker.sandbox.revoke_tokens()
    assert (await asker.get(IMAGES)).status == 401
    asker.token = (await asker.sign_in(identity=by_password())).headers["X-Subject-Token"]
    assert (await asker.get(IMAGES)).status == 200


@pytest.mark.parametrize("token", ["", "forged", "0_99999999999.0_x_y", "käse"])
async def test_a_token_that_is_not_ours_is_refused(asker: Asker, token: str) -> None:
    assert (await asker.get(f"{V3}/volumes", headers={"X-Auth-Token": token})).status == 401


@pytest.mark.parametrize(
    ("path", "status", "version"),
    [
        ("/identity", 300, "v3.14"),
        ("/identity/", 300, "v3.14"),
        ("/identity/v3", 200, "v3.14"),
        ("/identity/v3/", 200, "v3.14"),
        ("/volume", 300, "v3.0"),
        ("/volume/", 300, "v3.0"),
        ("/image", 300, "v2.17"),
        ("/image/", 300, "v2.17"),
        ("/image/versions", 200, "v2.17"),
    ],
)
async def test_the_versions_are_told_without_a_token(
    asker: Asker, path: str, status: int, version: str
) -> None:
    answer = await asker.get(path, headers={"X-Auth-Token": ""})
    assert answer.status == status
    assert f'"{version}"' in answer.text


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_one_version_of_block_storage_is_told_with_a_token_only(asker: Asker, version: str) -> None:
    (told,) = (await asker.get(f"/volume/{version}/")).json["versions"]
    assert told["links"][0]["href"] == f"{asker.sandbox.url}/volume/{version}/"
    assert (await asker.get(f"/volume/{version}", headers={"X-Auth-Token": ""})).status == 401


async def test_clouds_yaml_holds_what_a_client_signs_in_with(asker: Asker) -> None:
    cloud = yaml.safe_load(clouds_yaml(asker.sandbox.url))["clouds"]["sandbox"]
    assert {**cloud["auth"], "region_name": cloud["region_name"]} == asker.sandbox.auth()


async def test_every_answer_has_a_request_id_and_the_time_of_the_sandbox(asker: Asker) -> None:
    answers = [await asker.get(path) for path in ("/identity/v3", IMAGES, "/image/nothing", "/", "/nothing")]
    assert len({answer.headers["x-openstack-request-id"] for answer in answers}) == len(answers)
    assert {answer.headers["Date"] for answer in answers} == {"Fri, 15 Jan 2027 08:00:00 GMT"}


async def test_requests_are_counted_by_kind(asker: Asker) -> None:
    await asker.get(IMAGES)
    await asker.get(f"{V3}/volumes/detail")
    await asker.get(f"{V3}/nothing")
    counted = {"auth": 1, "list_images": 1, "list_volumes": 1, "unknown": 1}
    assert asker.sandbox.counts == counted

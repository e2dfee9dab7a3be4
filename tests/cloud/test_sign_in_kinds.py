"""Every kind of sign-in that keystoneauth can do unattended, as clouds.yaml names it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from batchexport.cloud import connect
from batchexport.config.settings import CloudSettings, Limits
from batchexport.errors import AuthenticationError
from batchexport.model import TargetKey
from tests.cloud.keystone import PASSWORD, Keystone
from tests.cloud.scripted import Reply, ScriptedServer, Seen

# openstacksdk warns about an option of its own, whether it is used or not.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

LIMITS = Limits(requests_per_second=0, concurrency=4)
DEMO = {"username": "demo", "user_domain_name": "Default"}
PROJECT = {"project_name": "demo", "project_domain_name": "Default"}
FEDERATED = {"identity_provider": "corp", "protocol": "openid", **PROJECT}
FEDERATION = "/identity/v3/OS-FEDERATION/identity_providers/corp/protocols/openid/auth"


class Federated(Keystone):
    """Takes the word of an OpenID provider, and changes unscoped tokens for scoped ones."""

    def __init__(self, server: ScriptedServer) -> None:
        super().__init__(server)
        self.grants: list[str] = []

    def answer(self, seen: Seen) -> Reply:
        if seen.path == "/corp/.well-known/openid-configuration":
            return Reply(200, {"token_endpoint": f"{self.server.url}/corp/token"})
        if seen.path == "/corp/token":
            return self._grant(seen.body.decode(), seen.headers.get("Authorization", ""))
        if seen.path == FEDERATION:
            known = seen.headers.get("Authorization") == f"Bearer {PASSWORD}"
            return (
                Reply(201, {"token": self._token()}, {"X-Subject-Token": PASSWORD}) if known else Reply(401)
            )
        return super().answer(seen)

    def _grant(self, form: str, authorization: str) -> Reply:
        self.grants.append(form)
        known = (
            PASSWORD in form or authorization == f"Basic {b64encode(f'batch:{PASSWORD}'.encode()).decode()}"
        )
        return Reply(200, {"access_token": PASSWORD, "token_type": "bearer"}) if known else Reply(401)


@pytest.fixture
def keystone(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Federated:
    for name in ("OS_CLOUD", "OS_AUTH_URL", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    return Federated(server)


async def sign_in(keystone: Keystone, folder: Path, kind: str, auth: Mapping[str, object]) -> None:
    """Sign in as an entry of clouds.yaml says, and list the volumes."""
    about = {"auth_url": f"{keystone.server.url}/identity/v3", **auth}
    entry: dict[str, object] = {"region_name": "R1", "auth_type": kind, "auth": about}
    if kind == "v3multifactor":
        entry["auth_methods"] = about.pop("auth_methods")
    (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"one": entry}}))
    async with connect(TargetKey(), CloudSettings(cloud="one"), limits=LIMITS) as client:
        assert [page async for page in client.block_storage.volumes()] == []


OPENID = {"client_id": "batch", "openid_scope": "openid", **FEDERATED}
KINDS: dict[str, tuple[dict[str, object], list[str]]] = {
    "password": ({"password": PASSWORD, **DEMO, **PROJECT}, ["password"]),
    "v3password": ({"password": PASSWORD, **DEMO, "trust_id": "t1"}, ["password"]),
    "v3token": ({"token": PASSWORD, **PROJECT}, ["token"]),
    "v3totp": ({"passcode": PASSWORD, **DEMO, **PROJECT}, ["totp"]),
    "v3multifactor": (
        {
            "auth_methods": ["v3password", "v3totp"],
            "password": "first",
            "passcode": PASSWORD,
            **DEMO,
            **PROJECT,
        },
        ["password", "totp"],
    ),
    "v3applicationcredential": (
        {"application_credential_name": "batch", "application_credential_secret": PASSWORD, **DEMO},
        ["application_credential"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_identity_service_is_asked_in_this_way(
    keystone: Federated, tmp_path: Path, kind: str
) -> None:
    auth, methods = KINDS[kind]
    await sign_in(keystone, tmp_path, kind, auth)
    (asked,) = keystone.requests
    assert json.loads(json.dumps(asked))["identity"]["methods"] == methods


async def test_a_trust_is_the_scope(keystone: Federated, tmp_path: Path) -> None:
    await sign_in(keystone, tmp_path, "v3password", KINDS["v3password"][0])
    assert keystone.requests[0]["scope"] == {"OS-TRUST:trust": {"id": "t1"}}


@pytest.mark.parametrize(
    ("kind", "auth", "grant"),
    [
        ("v3oidcclientcredentials", {"client_secret": PASSWORD}, "grant_type=client_credentials"),
        (
            "v3oidcpassword",
            {"client_secret": "s", "username": "demo", "password": PASSWORD},
            "grant_type=password",
        ),
    ],
)
async def test_an_openid_provider_vouches(
    keystone: Federated, tmp_path: Path, kind: str, auth: dict[str, object], grant: str
) -> None:
    provider = {"discovery_endpoint": f"{keystone.server.url}/corp/.well-known/openid-configuration"}
    await sign_in(keystone, tmp_path, kind, {**OPENID, **provider, **auth})
    (form,) = keystone.grants
    assert grant in form
    assert keystone.requests[0]["scope"] == {"project": {"name": "demo", "domain": {"name": "Default"}}}


async def test_an_access_token_of_an_openid_provider_will_do(keystone: Federated, tmp_path: Path) -> None:
    await sign_in(keystone, tmp_path, "v3oidcaccesstoken", {"access_token": PASSWORD, **FEDERATED})
    assert keystone.requests[0]["identity"] == {"methods": ["token"], "token": {"id": PASSWORD}}


async def test_a_provider_that_does_not_know_us_is_a_refused_sign_in(
    keystone: Federated, tmp_path: Path
) -> None:
    with pytest.raises(AuthenticationError, match="401"):
        await sign_in(keystone, tmp_path, "v3oidcaccesstoken", {"access_token": "stolen", **FEDERATED})

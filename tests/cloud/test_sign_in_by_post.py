"""Signing in by one POST: the same document that keystoneauth sends, and every failure in words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from keystoneauth1 import session
from keystoneauth1.identity import v3

from batchexport.cloud.auth.keystone import Principal, auth_document, sign_in_by_post
from batchexport.cloud.auth.tokens import Token
from batchexport.cloud.http.transport import TlsConfig
from batchexport.errors import (
    AuthenticationError,
    BatchExportError,
    ConfigError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from tests.cloud.keystone import PASSWORD, PROJECT_ID, Keystone
from tests.cloud.scripted import Reply, ScriptedServer, unused_url

USER = {"username": "demo", "password": PASSWORD}
CREDENTIAL = {"application_credential_id": "a1", "application_credential_secret": PASSWORD}
PROOFS = [
    USER,
    USER | {"user_domain_id": "d", "project_id": "p1", "project_name": "demo"},
    USER | {"user_domain_name": "D", "project_name": "demo", "project_domain_id": "d"},
    USER | {"user_domain_id": "d", "user_domain_name": "D", "project_name": "x", "project_domain_name": "D"},
    CREDENTIAL,
]


@pytest.fixture
def keystone(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Keystone:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Keystone(server)


async def sign_in(auth_url: str) -> Token:
    return await asyncio.to_thread(
        sign_in_by_post, auth_url, USER, TlsConfig(), Principal.of(USER), silence_s=5.0
    )


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: " ".join(proof))
async def test_the_document_is_that_of_keystoneauth(keystone: Keystone, proof: dict[str, str]) -> None:
    kind = v3.ApplicationCredential if proof is CREDENTIAL else v3.Password
    plugin = kind(auth_url=f"{keystone.server.url}/identity/v3", **proof)
    await asyncio.to_thread(plugin.get_access, session.Session())
    assert keystone.requests == [auth_document(proof)]


async def test_a_token_comes_with_all_that_is_told_of_it(keystone: Keystone) -> None:
    token = await sign_in(f"{keystone.server.url}/identity/v3")
    assert (token.value, token.project_id, token.project_name) == ("tok-1", PROJECT_ID, "demo")
    assert token.issued_at is not None
    assert token.expires_at == pytest.approx(token.issued_at + 3600)
    assert (token.user_name, token.roles) == ("demo", ())
    assert [(entry.service_type, entry.region) for entry in token.catalog] == [
        ("volumev3", "R1"),
        ("image", "R1"),
    ]


async def test_a_service_without_a_type_is_no_service(keystone: Keystone) -> None:
    answer = {
        "token": {
            "project": {"id": PROJECT_ID},
            "roles": [{"name": "member"}],
            "catalog": [{"endpoints": [{"url": "x"}]}, {"type": "image", "endpoints": [{"region_id": "r"}]}],
        }
    }
    keystone.refusal = Reply(201, answer, {"X-Subject-Token": "t"})
    token = await sign_in(f"{keystone.server.url}/identity/v3")
    (entry,) = token.catalog
    assert (entry.interface, entry.region, entry.url) == ("public", "r", "")
    assert (token.user_name, token.roles, token.expires_at) == (None, ("member",), None)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (
            Reply(401, {"error": {"message": f"no {PASSWORD}"}}),
            AuthenticationError,
            r"refused user demo.*\*\*\*",
        ),
        (Reply(404, {}), AuthenticationError, r"Not Found \(404\)"),
        (Reply(429, {}), ThrottledError, "429"),
        (Reply(503, {}), TransientError, "503"),
        (
            Reply(302, {}, {"Location": "http://other/v3"}),
            AuthenticationError,
            "redirected to http://other/v3",
        ),
        (Reply(201, {}, {"X-Subject-Token": "t"}), AuthenticationError, "not that of an identity service"),
        (
            Reply(201, {"token": []}, {"X-Subject-Token": "t"}),
            AuthenticationError,
            "not that of an identity service",
        ),
        (Reply(201, {"token": {}}), AuthenticationError, "X-Subject-Token"),
        (Reply(201, {"token": {}}, {"X-Subject-Token": "t"}), ConfigError, "to no project"),
    ],
    ids=str,
)
async def test_what_is_no_token_is_told(
    keystone: Keystone, reply: Reply, kind: type[BatchExportError], words: str
) -> None:
    keystone.refusal = reply
    with pytest.raises(kind, match=words) as caught:
        await sign_in(f"{keystone.server.url}/identity/v3")
    assert PASSWORD not in str(caught.value) + repr(caught.value.__cause__)
    assert len(keystone.requests) == 1


async def test_a_service_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="connection refused"):
        await sign_in(unused_url())


async def test_the_proxy_of_the_environment(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", keystone.server.url)
    monkeypatch.setenv("no_proxy", "")
    elsewhere = "http://identity.example/v3"
    with pytest.raises(AuthenticationError):
        await sign_in(elsewhere)
    assert keystone.server.seen[0].headers["Host"] == "identity.example"


def test_authorities_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    trust = TlsConfig(authorities=str(tmp_path / "no.pem"))
    with pytest.raises(ConfigError, match="certificates"):
        sign_in_by_post("https://127.0.0.1:1/v3", USER, trust, Principal.of(USER), silence_s=5.0)

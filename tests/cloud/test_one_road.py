"""Sign-in by either library, and every other request: one road out, with the same bounds."""

from __future__ import annotations

import asyncio
import gzip
import html
import json
import traceback
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from keystoneauth1.identity import generic

from batchexport.cloud.auth.keystone import MAX_TOKEN_RESPONSE_BYTES, Principal, sign_in_by_post
from batchexport.cloud.auth.keystone_plugins import sign_in_by_plugin
from batchexport.cloud.auth.tokens import Token, TokenSource
from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import TlsConfig, open_http
from batchexport.errors import (
    AuthenticationError,
    BatchExportError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from batchexport.redaction import redacted
from tests.cloud.conftest import token
from tests.cloud.keystone import PASSWORD, Keystone
from tests.cloud.scripted import Reply, ScriptedServer, Seen, serving, unused_url

USER = {"username": "demo", "password": PASSWORD, "user_domain_name": "Default"}
PROJECT = {"project_name": "demo", "project_domain_name": "Default"}
SignIn = Callable[[str], Token]


def directly(auth_url: str) -> Token:
    return sign_in_by_post(auth_url, USER | PROJECT, TlsConfig(), Principal.of(USER), silence_s=5.0)


def by_keystoneauth(auth_url: str) -> Token:
    plugin = generic.Password(auth_url=auth_url, **USER, **PROJECT)
    return sign_in_by_plugin(plugin, TlsConfig(), project=None, identity=Principal.of(USER), silence_s=5.0)


BOTH = pytest.mark.parametrize("sign_in_by", [directly, by_keystoneauth])


@pytest.fixture
def keystone(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Keystone:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return Keystone(server)


async def refused(sign_in_by: SignIn, url: str) -> BatchExportError:
    with pytest.raises(BatchExportError) as caught:
        await asyncio.to_thread(sign_in_by, url)
    assert PASSWORD not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"
    return caught.value


@BOTH
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_of_a_sign_in_is_named_and_never_followed(
    keystone: Keystone, sign_in_by: SignIn, status: int
) -> None:
    async with serving(ScriptedServer()) as thief:
        place = f"{thief.url}/v3/auth/tokens"
        keystone.refusal = Reply(status, b"", {"Location": place})
        error = await refused(sign_in_by, f"{keystone.server.url}/identity/v3")
        assert f"redirected to {place}; redirects are not followed" in str(error)
        assert thief.seen == []


@BOTH
async def test_the_way_to_the_versions_is_not_followed_either(
    server: ScriptedServer, sign_in_by: SignIn
) -> None:
    async with serving(ScriptedServer()) as thief:
        server.answers(Reply(301, b"", {"Location": thief.url}))
        error = await refused(sign_in_by, f"{server.url}/v3")
        assert isinstance(error, AuthenticationError)
        assert thief.seen == []


@BOTH
@pytest.mark.parametrize("packed", ["gzip", "deflate"])
async def test_an_answer_that_comes_packed_unasked_is_unpacked(
    keystone: Keystone, sign_in_by: SignIn, packed: str
) -> None:
    def pack(seen: Seen) -> Reply:
        reply = Keystone.answer(keystone, seen)
        body = gzip.compress(reply.content) if packed == "gzip" else zlib.compress(reply.content)
        headers = {**reply.headers, "Content-Encoding": packed, "Content-Type": "application/json"}
        return Reply(reply.status, body, headers)

    keystone.server.answers(pack)
    got = await asyncio.to_thread(sign_in_by, f"{keystone.server.url}/identity/v3")
    assert got.value == "tok-1"
    keystone.refusal = Reply(403, {"error": {"message": "not you"}})
    assert "not you" in str(await refused(sign_in_by, f"{keystone.server.url}/identity/v3"))


@BOTH
@pytest.mark.parametrize("packed", [True, False])
async def test_an_answer_without_end_is_cut(keystone: Keystone, sign_in_by: SignIn, packed: bool) -> None:
    body = b" " * (MAX_TOKEN_RESPONSE_BYTES + 65536)
    headers = {"X-Subject-Token": "t", "Content-Type": "application/json"}
    if packed:
        body, headers = gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
    keystone.refusal = Reply(201, body, headers)
    assert "more than 16 MiB" in str(await refused(sign_in_by, f"{keystone.server.url}/identity/v3"))


@BOTH
async def test_netrc_is_nobodys_way_in(
    keystone: Keystone, sign_in_by: SignIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login u password p\ndefault login u password p\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await asyncio.to_thread(sign_in_by, f"{keystone.server.url}/identity/v3")
    assert keystone.server.seen
    assert not [seen for seen in keystone.server.seen if "Authorization" in seen.headers]


@BOTH
async def test_a_service_that_is_sick_is_no_wrong_address(server: ScriptedServer, sign_in_by: SignIn) -> None:
    server.answers(Reply(503, "<html><body><h1>503 no server</h1></body></html>", {"Retry-After": "2"}))
    error = await refused(sign_in_by, f"{server.url}/v3")
    assert isinstance(error, TransientError)
    assert "503 no server" in str(error)
    assert "auth_url" not in f"{error} {error.hint}"
    assert error.retry_after_s == 2.0


@BOTH
async def test_a_sign_in_that_comes_too_often_is_told_when_to_come_again(
    keystone: Keystone, sign_in_by: SignIn
) -> None:
    keystone.refusal = Reply(429, {"error": {"message": "slowly"}}, {"Retry-After": "7"})
    error = await refused(sign_in_by, f"{keystone.server.url}/identity/v3")
    assert isinstance(error, ThrottledError)
    assert error.retry_after_s == 7.0


@BOTH
async def test_both_go_through_the_proxy_of_the_environment_and_name_it(
    keystone: Keystone, sign_in_by: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = "http://keystone.invalid"
    keystone.server.answers(lambda seen: keystone.answer(replace(seen, path=seen.path.removeprefix(there))))
    monkeypatch.setenv("all_proxy", keystone.server.url.replace("http://", "http://me:s3cret-word@"))
    await asyncio.to_thread(sign_in_by, "http://keystone.invalid/identity/v3")
    assert {seen.headers["Host"] for seen in keystone.server.seen} >= {"keystone.invalid"}
    assert all(seen.headers["Proxy-Authorization"].startswith("Basic ") for seen in keystone.server.seen)
    monkeypatch.setenv("all_proxy", unused_url().replace("http://", "http://me:s3cret-word@"))
    error = await refused(sign_in_by, "http://keystone.invalid/identity/v3")
    assert isinstance(error, UnreachableError)
    assert "through the proxy http://127.0.0.1:" in str(error)
    assert "s3cret" not in f"{error} {error.__cause__!r}"


async def ask(url: str) -> None:
    async with open_http(TlsConfig(), connections=1) as http:
        session = HttpSession(http, TokenSource(token), RateLimiter(0), concurrency=1)
        await session.request("GET", Endpoint(url=url, version="v3"), "/x")


@pytest.mark.parametrize("size", [8191, 30_000, 60_000])
async def test_long_headers_are_read_by_all(keystone: Keystone, size: int) -> None:
    def padded(seen: Seen) -> Reply:
        reply = Keystone.answer(keystone, seen)
        return Reply(reply.status, reply.content, {**reply.headers, "X-Trace": "x" * size})

    keystone.server.answers(padded)
    for sign_in_by in (directly, by_keystoneauth):
        await asyncio.to_thread(sign_in_by, f"{keystone.server.url}/identity/v3")
    await ask(keystone.server.url)


@pytest.mark.parametrize("status", [403, 407, 502, 503])
async def test_a_proxy_that_refuses_is_named_without_its_password(
    keystone: Keystone, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    keystone.server.answers(Reply(status))
    proxy = keystone.server.url.replace("http://", "http://me:PROXYSECRET@")
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(UnreachableError, match=r"through the proxy http://127.*https_proxy") as caught:
        await ask("https://volumes.invalid/v3")
    assert "PROXYSECRET" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert "PROXYSECRET" not in repr(caught.value.__cause__)


async def test_a_proxy_is_told_user_and_password(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", keystone.server.url.replace("http://", "http://me:PROXY%2FSECRET@"))
    await ask("http://volumes.invalid/v3")
    assert keystone.server.seen[0].headers["Proxy-Authorization"] == "Basic bWU6UFJPWFkvU0VDUkVU"


async def test_a_mistyped_password_is_never_tried_twice(keystone: Keystone) -> None:
    keystone.refusal = Reply(
        401, json.dumps({"error": {"message": "no"}}), {"Content-Type": "application/json"}
    )
    for sign_in_by in (directly, by_keystoneauth):
        keystone.requests.clear()
        assert "refused user demo" in str(await refused(sign_in_by, f"{keystone.server.url}/identity/v3"))
        assert len(keystone.requests) == 1


REPEATED = ['qu"ote-pa55word', "back\\slash-pa55", "amp&-<pa55>word", "büro-pa55word", "sla/sh/pa55word"]


@pytest.mark.parametrize("secret", REPEATED)
@pytest.mark.parametrize("way", ["direct", "keystoneauth"])
@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("form", ["json", "html", "cut", "header"])
async def test_a_password_that_the_identity_service_repeats_is_not_told(
    keystone: Keystone, secret: str, way: str, status: int, form: str
) -> None:
    words = ("x" * 288 if form == "cut" else "cannot use ") + secret
    body = json.dumps({"error": {"message": words, "code": status, "title": "no"}})
    if form == "html":
        body = f"<html><body><p>cannot use {html.escape(secret)}</p></body></html>"
    headers = {"Content-Type": "application/json"}
    if form == "header" and secret.isascii():
        headers["x-openstack-request-id"] = secret
    keystone.refusal = Reply(status, body, headers)
    proof = USER | {"password": secret}
    identity = Principal.of(proof)
    url = f"{keystone.server.url}/identity/v3"

    def by_way() -> Token:
        if way == "direct":
            return sign_in_by_post(url, proof, TlsConfig(), identity, silence_s=5.0)
        plugin = generic.Password(auth_url=url, **proof, **PROJECT)
        return sign_in_by_plugin(plugin, TlsConfig(), project=None, identity=identity, silence_s=5.0)

    with pytest.raises(BatchExportError) as caught:
        await asyncio.to_thread(by_way)
    error = caught.value
    assert "pa55" not in f"{error} {error.hint} {getattr(error, 'request_id', '')}"
    assert "pa55" not in redacted("".join(traceback.format_exception(error)))  # as -vv shows it

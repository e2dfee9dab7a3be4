from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from batchexport.cloud.http.transport import TlsConfig, open_http
from batchexport.errors import ConfigError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
async def tls_url(certificate: Path) -> AsyncIterator[str]:
    """A server that shows the certificate and asks for one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_OPTIONAL

    async def shown(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(text="certified" if request.transport.get_extra_info("peercert") else "anonymous")

    app = web.Application()
    app.router.add_get("/", shown)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest.fixture(autouse=True)
def no_bundle_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield


async def get(url: str, trust: TlsConfig) -> str:
    async with open_http(trust, connections=1) as http, http.get(url) as response:
        return await response.text()


async def test_an_unknown_certificate_is_not_trusted(tls_url: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await get(tls_url, TlsConfig.of(True, None))


async def test_the_configured_authority_is_trusted(tls_url: str, certificate: Path) -> None:
    assert await get(tls_url, TlsConfig.of(str(certificate), None)) == "anonymous"


async def test_the_authority_of_the_sign_in_is_trusted_too(
    tls_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert await get(tls_url, TlsConfig.of(True, None)) == "anonymous"


async def test_without_verification_any_certificate_will_do(tls_url: str) -> None:
    assert await get(tls_url, TlsConfig.of(False, None)) == "anonymous"


@pytest.mark.parametrize("in_one_file", [True, False])
async def test_our_own_certificate_is_shown(tls_url: str, certificate: Path, in_one_file: bool) -> None:
    own = str(certificate) if in_one_file else (str(certificate), str(certificate))
    assert await get(tls_url, TlsConfig.of(str(certificate), own)) == "certified"


def test_a_folder_of_authorities_is_taken(certificate: Path) -> None:
    assert TlsConfig.of(str(certificate.parent), None).context().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(("verify", "own"), [("/nowhere/ca.pem", None), (True, "/nowhere/own.pem")])
def test_a_certificate_that_is_not_there_is_named(verify: bool | str, own: str | None) -> None:
    with pytest.raises(ConfigError, match="/nowhere/"):
        TlsConfig.of(verify, own).context()

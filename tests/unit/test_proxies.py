"""Proxies are found in the environment as requests finds them, and never shown with a password."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from requests.utils import get_environ_proxies, select_proxy

from batchexport.errors import ConfigError
from batchexport.proxies import proxy_for
from batchexport.redaction import redacted

URLS = [
    "http://evs.example/v2",
    "https://evs.example/v2",
    "https://evs.example:8776/v2",
    "https://notevs.example/v2",
    "https://sub.evs.example/v2",
    "http://10.1.2.3:8776/v3",
    "https://10.1.2.3/v3",
    "http://192.168.7.1/v3",
    "http://127.0.0.1:5000/v3",
    "http://localhost/v3",
    "http://[fd00::5]:5000/v3",
]
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "nothing": {},
    "https only": {"https_proxy": "http://proxy:3128"},
    "upper case": {"HTTPS_PROXY": "http://proxy:3128"},
    "both cases": {"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"},
    "all": {"all_proxy": "http://proxy:3128"},
    "all beside http": {"all_proxy": "http://all:1", "http_proxy": "http://one:1"},
    "empty beside all": {"all_proxy": "http://all:1", "http_proxy": ""},
    "without a scheme": {"http_proxy": "proxy:3128", "https_proxy": "proxy:3128"},
    "network": {"all_proxy": "http://proxy:1", "no_proxy": "10.0.0.0/8"},
    "networks": {"all_proxy": "http://proxy:1", "no_proxy": "172.16.0.0/12, 192.168.0.0/16"},
    "an address": {"all_proxy": "http://proxy:1", "no_proxy": "10.1.2.3"},
    "an ending": {"all_proxy": "http://proxy:1", "no_proxy": ".example"},
    "a host": {"all_proxy": "http://proxy:1", "NO_PROXY": "evs.example"},
    "a host with its port": {"all_proxy": "http://proxy:1", "no_proxy": "evs.example:8776"},
    "everything": {"all_proxy": "http://proxy:1", "no_proxy": "*"},
    "blanks and empty entries": {"all_proxy": "http://proxy:1", "no_proxy": " , localhost ,, 127.0.0.1"},
    "no network": {"all_proxy": "http://proxy:1", "no_proxy": "10.0.0.0/99,10.0.0.0/x"},
}


@pytest.fixture(autouse=True)
def no_proxies_of_ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_proxy_is_that_of_the_openstack_client(
    monkeypatch: pytest.MonkeyPatch, environment: str, url: str
) -> None:
    for name, text in ENVIRONMENTS[environment].items():
        monkeypatch.setenv(name, text)
    theirs = select_proxy(url, get_environ_proxies(url))
    ours = proxy_for(url)
    scheme = "" if theirs is None or "://" in theirs else "http://"
    assert (None if ours is None else ours.url) == (None if theirs is None else scheme + theirs)


def test_networks_of_the_newer_addresses_are_excepted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "fd00::/8")
    assert proxy_for("http://[fd00::5]:5000/v3") is None
    assert proxy_for("http://[fe80::5]:5000/v3") is not None


def test_user_and_password_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:pass%2Fw0rd@proxy:3128")
    found = proxy_for("https://evs.example")
    assert found is not None
    assert (found.user, found.password) == ("me", "pass/w0rd")
    assert found.url_with_password == "http://me:pass%2Fw0rd@proxy:3128"
    assert "w0rd" not in f"{found} {found!r}"
    assert redacted("via http://me:pass%2Fw0rd@proxy:3128, Basic bWU6cGFzcy93MHJk") == (
        "via http://***@proxy:3128, Basic ***"
    )


@pytest.mark.parametrize("proxy", ["socks5://me:s3cret-pw@proxy:1080", "http://", "ftp://proxy"])
def test_a_proxy_that_speaks_no_http_is_refused(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(ConfigError, match="names no HTTP proxy") as caught:
        proxy_for("https://evs.example/v2")
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"

"""The proxy for a URL, found in the environment as the `openstack` client and the requests library find it.

All requests of this process use it: signing in, services and notifications.
"""

from __future__ import annotations

import ipaddress
import os
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from batchexport.errors import ConfigError
from batchexport.redaction import register_secret


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP proxy."""

    url: str  #: without user and password, so that it can be shown
    variable: str  #: that named it: https_proxy, http_proxy or all_proxy
    user: str | None = None
    password: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The credentials for the proxy, apart from its URL, which libraries show in errors."""
        return {} if self.user is None else {"Proxy-Authorization": f"Basic {self._sent}"}

    @property
    def _sent(self) -> str:
        return b64encode(f"{self.user}:{self.password or ''}".encode()).decode()

    @property
    def url_with_password(self) -> str:
        """The URL for libraries that accept credentials only in it. Must not be shown."""
        if self.user is None:
            return self.url
        scheme, _, place = self.url.partition("://")
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@{place}"

    def __repr__(self) -> str:
        return f"Proxy({self})"

    def __str__(self) -> str:
        return f"proxy {self.url} ({self.variable})"


def proxy_for(url: str) -> Proxy | None:
    """The proxy for a URL by the environment (`https_proxy`, `all_proxy`, `no_proxy` …), or None.

    Raises ConfigError for a proxy of another kind than HTTP.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if host is None or _is_direct(host, parts.port):
        return None
    found = getproxies()
    name = parts.scheme if found.get(parts.scheme) else "all"
    named = found.get(name)
    return _proxy(named, f"{name}_proxy", host) if named else None


def _proxy(text: str, variable: str, host: str) -> Proxy:
    parts = urlsplit(text if "://" in text else f"http://{text}")  # as curl and openstack read it
    user, password = parts.username, parts.password
    register_secret(password, f"{user}:{password}" if password else None)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # Without the address: it may contain a password.
        raise ConfigError(
            f"{variable} names no HTTP proxy; other kinds are not supported for {host}",
            hint=f"set it to http://…, or add {host} to no_proxy",
        )
    proxy = Proxy(
        url=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        variable=variable,
        user=None if user is None else unquote(user),
        password=None if password is None else unquote(password),
    )
    register_secret(proxy.password, None if proxy.user is None else proxy._sent)
    return proxy


def _is_direct(host: str, port: int | None) -> bool:
    """Whether `no_proxy` excludes a host: by its name or domain, its address, or its network."""
    excepted = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").replace(" ", "")
    entries = [entry for entry in excepted.split(",") if entry]
    address = _address(host)
    if address is not None:
        if _is_within(address, host, port, entries):
            return True
    else:
        endings = {entry.lower().lstrip(".") for entry in entries}
        places = (f".{host}", f".{host}:{port}")
        if any(place.endswith(f".{ending}") for place in places for ending in endings if ending):
            return True
    return bool(proxy_bypass(host))  # system settings, and `*`


def _is_within(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    host: str,
    port: int | None,
    entries: Iterable[str],
) -> bool:
    for entry in entries:
        if entry in (host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"):
            return True
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            continue
        if address in network:
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

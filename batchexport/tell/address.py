"""A host and a port, as users write them."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """From `9105`, `:9105`, `127.0.0.1:9105` or `[::1]:9105`; without a host it is this machine only.

    Raises ValueError for anything else.
    """
    host, _, port_text = text.rpartition(":")
    port = int(port_text) if port_text.isascii() and port_text.isdecimal() else -1
    if not 0 <= port <= 65535 or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ValueError(f"{text!r} is not an address: write PORT, HOST:PORT or [IPV6]:PORT")
    return Address(host.strip("[]") or "127.0.0.1", port)

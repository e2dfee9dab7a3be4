"""What a session needs to authenticate: the headers by which the cloud accepts each request.

There are two kinds: a token that is sent along (`auth.tokens`) and a signature of each request
(`auth.signatures`). The session does not know which one it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from batchexport.cloud.catalog import CatalogEntry
from batchexport.errors import AuthenticationError

#: The type of most bodies.
JSON = "application/json"


class Credential(Protocol):
    """What requests are authenticated with for a while, and what came with it."""

    @property
    def project_id(self) -> str | None:
        """The one project it is for."""
        ...

    @property
    def catalog(self) -> tuple[CatalogEntry, ...]:
        """Where the services are."""
        ...

    @property
    def issued_at(self) -> float | None:
        """When it was issued, in seconds since the epoch by the cloud's clock; None = not told."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat."""
        ...

    def accepted(self) -> None:
        """Note that the cloud accepted a request. Called for each one, so it must be fast."""
        ...

    def headers(
        self,
        method: str,
        url: str,
        body: bytes | None,
        microversion: str | None,
        content_type: str = JSON,
    ) -> Mapping[str, str]:
        """The headers of one request that is sent at once. Called for each one, so it must be fast."""
        ...


class Authenticator(Protocol):
    """Holds the credential of one target."""

    async def valid(self) -> Credential:
        """A credential that is accepted. Raises AuthenticationError, UnreachableError or ConfigError."""
        ...

    async def after_refusal(
        self, refused: Credential, error: AuthenticationError, *, clock_off_s: float
    ) -> Credential:
        """Another credential than the refused one, or an error that says why there is none.

        `clock_off_s` is by how many seconds the cloud's clock is ahead of ours.
        """
        ...

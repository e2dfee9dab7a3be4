"""What a session asks before each request: by which headers will the cloud let it through?

There are two answers: a token that is sent along (`auth`), and a signature of each request (`signatures`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from batchexport.cloud.catalog import CatalogEntry
from batchexport.errors import SignInError
from batchexport.version import __version__


class Credential(Protocol):
    """What lets requests through for a while, and what came with it."""

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
        """When it was made, by the cloud's clock; None = the cloud did not say."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat."""
        ...

    def accepted(self) -> None:
        """A request of this credential was let through. Called for every one: quick."""
        ...

    def headers(
        self, method: str, url: str, body: bytes | None, microversion: str | None
    ) -> Mapping[str, str]:
        """The headers of one request that is sent at once. Called for every request: quick, and no await."""
        ...


class Authenticator(Protocol):
    """Keeps the credential of one target."""

    async def valid(self) -> Credential:
        """A credential that the cloud will take. Raises SignInError, UnreachableError or ConfigError."""
        ...

    async def after_refusal(
        self, refused: Credential, error: SignInError, *, clock_off_s: float
    ) -> Credential:
        """Another credential than the one that the cloud refused, or an error that says why there is none.

        `clock_off_s` is how far the cloud's clock is ahead of ours.
        """
        ...


def service_headers(microversion: str | None) -> dict[str, str]:
    """The headers of every request to a service, but for those that let it through."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # unpacking costs more than the network saves
        "User-Agent": f"batchexport/{__version__}",
    }
    if microversion is not None:
        headers["OpenStack-API-Version"] = f"volume {microversion}"
    return headers

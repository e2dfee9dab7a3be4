"""What a connected client can tell of its account, for people to look at: no secret is among it."""

from __future__ import annotations

import msgspec

from batchexport.cloud.account import Account
from batchexport.cloud.auth import Token
from batchexport.cloud.authorizer import Credential
from batchexport.cloud.catalog import Endpoint
from batchexport.identity import CloudIdentity, service_address


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """As whom a client asks, and where."""

    signs_requests: bool  #: with an access key; else it signed in and holds a token
    project_id: str | None
    project_name: str | None = None
    user_name: str | None = None
    roles: tuple[str, ...] = ()  #: empty = not told
    token_life_s: float | None = None  #: of a fresh token; None = not told, or no token
    block_storage_url: str
    image_url: str
    config_files: tuple[str, ...] = ()  #: what describes the account; empty = variables and flags alone
    notes: tuple[str, ...] = ()  #: what a person should know of the way to the cloud, in words


def facts_of(
    account: Account, held: Credential, block_storage: Endpoint, image_service: Endpoint
) -> AccountFacts:
    """What the credential and the endpoints say of the account."""
    token = held if isinstance(held, Token) else None
    life_s = None
    if token is not None and token.issued_at is not None and token.expires_at is not None:
        life_s = token.expires_at - token.issued_at
    return AccountFacts(
        signs_requests=token is None,
        project_id=held.project_id,
        project_name=token.project_name if token else None,
        user_name=token.user_name if token else None,
        roles=token.roles if token else (),
        token_life_s=life_s,
        block_storage_url=block_storage.url,
        image_url=image_service.url,
        config_files=account.config_files,
        notes=(*account.notes, *_in_clear(account, block_storage, image_service)),
    )


def _in_clear(account: Account, *endpoints: Endpoint) -> list[str]:
    """A note on endpoints without TLS, where the sign-in has it: tokens go there as anybody can read them."""
    if not (account.identity_url or "").startswith("https://"):
        return []
    urls = [endpoint.url for endpoint in endpoints if endpoint.url.startswith("http://")]
    return [f"requests and their token go in clear text to {', '.join(urls)}"] if urls else []


def identity_of(account: Account, held: Credential, block_storage: Endpoint) -> CloudIdentity:
    """What the account and its sign-in say of the cloud: which one it is, for whoever comes back to it."""
    return CloudIdentity(
        cloud=account.cloud,
        region=block_storage.region,
        project_id=held.project_id,
        project_name=held.project_name if isinstance(held, Token) else None,
        identity_url=service_address(account.identity_url) if account.identity_url else None,
        block_storage_url=service_address(block_storage.url),
    )

"""Connecting to a cloud: the account, the sign-in, the endpoints; and what comes of it, its services."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batchexport.cloud.auth.account import Account, environment_account, plain_account
from batchexport.cloud.auth.sign_in_pacing import SignIns
from batchexport.cloud.auth.tokens import Token, run_in_thread
from batchexport.cloud.block_storage import BlockStorage
from batchexport.cloud.catalog import Endpoint, find_block_storage, find_compute, find_image_service
from batchexport.cloud.compute import Compute
from batchexport.cloud.copies import CopyService
from batchexport.cloud.http.authenticator import Credential
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.cloud.http.session import HttpSession, Traffic
from batchexport.cloud.http.transport import open_http
from batchexport.cloud.image import ImageService
from batchexport.config.settings import CloudSettings, Limits
from batchexport.dialect import Dialect
from batchexport.identity import CloudIdentity, service_address
from batchexport.model import TargetKey


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in, and where the services are. Holds no secret."""

    signs_requests: bool  #: with an access key; else it signed in and holds a token
    project_id: str | None
    project_name: str | None = None
    user_name: str | None = None
    roles: tuple[str, ...] = ()  #: empty = not told
    token_life_s: float | None = None  #: lifetime of a fresh token; None = not told, or no token
    block_storage_url: str
    image_url: str
    config_files: tuple[str, ...] = ()  #: that describe the account; empty = only variables and flags
    notes: tuple[str, ...] = ()  #: warnings about the configuration and the connection


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One project in one region: its services, behind one rate limiter and one sign-in.

    Every call of a service raises only errors of CloudError (and what a fence raises).
    """

    block_storage: BlockStorage
    copies: CopyService
    image: ImageService
    dialect: Dialect
    identity: CloudIdentity
    facts: AccountFacts
    session: HttpSession = field(repr=False)
    find_compute: Callable[[], Compute] = field(repr=False)

    @cached_property
    def compute(self) -> Compute:
        """Its servers. Raises ConfigError if there is no compute service, which most runs do not need."""
        return self.find_compute()

    @property
    def requests_per_second(self) -> float:
        """The rate that is allowed now; 0 = not limited."""
        return self.session.requests_per_second

    @property
    def traffic(self) -> Traffic:
        """Counts of its requests so far."""
        return self.session.traffic

    def server_now_s(self) -> float:
        """Seconds since the epoch by the cloud's clock, never ahead of it."""
        return self.session.server_now_s()


@asynccontextmanager
async def connect(
    key: TargetKey,
    settings: CloudSettings,
    *,
    limits: Limits,
    limiter: RateLimiter | None = None,
    sign_ins: SignIns | None = None,
    identity: CloudIdentity | None = None,
) -> AsyncIterator[Cloud]:
    """Sign in to a cloud; its connections are closed at the end. `key` takes precedence over `settings`.

    `limiter` is for targets that share one; None = its own, at the rate of `limits`. `sign_ins` is for
    targets that sign in together; None = its own, with short time limits. `identity` replaces the one found
    at sign-in, for a cloud whose address changes. Raises ConfigError for an unknown cloud, region or service;
    AuthenticationError, UnreachableError or TransientError if the sign-in fails; and CloudError if the
    image service does not respond.
    """
    sign_ins = sign_ins or SignIns()
    account = await run_in_thread(partial(load_account, key, settings, sign_ins), limit_s=None)
    credential = await sign_ins.first(account.authenticator)
    block_storage, dialect = find_block_storage(
        credential.catalog, account.preferences, project_id=credential.project_id
    )
    image_service = find_image_service(credential.catalog, account.preferences)
    async with open_http(account.tls, connections=limits.concurrency) as http:
        session = HttpSession(
            http,
            account.authenticator,
            limiter or RateLimiter(limits.requests_per_second),
            concurrency=limits.concurrency,
        )
        session.proxy_for(block_storage.url)  # finds a wrong setting before anything is sent
        # Until a service responds, the date of the token shows by how much our clock is off.
        session.learn_clock(credential.issued_at)
        volumes = BlockStorage(session, block_storage, dialect)
        if account.unverified:
            await volumes.probe()
        images = ImageService(session, image_service, dialect, project_id=credential.project_id)
        # Without it no export could be polled; and the times of images are by this service's clock.
        await images.probe()
        facts = account_facts(account, credential, block_storage, image_service)
        sign_ins.log_account(facts.config_files, facts.notes)

        def compute() -> Compute:
            endpoints = find_compute(
                credential.catalog, account.preferences, dialect, project_id=credential.project_id
            )
            return Compute(session, endpoints)

        yield Cloud(
            block_storage=volumes,
            copies=CopyService(session, block_storage, dialect, project_id=credential.project_id),
            image=images,
            dialect=dialect,
            identity=identity or identity_of(account, credential, block_storage),
            facts=facts,
            session=session,
            find_compute=compute,
        )


def load_account(key: TargetKey, settings: CloudSettings, sign_ins: SignIns | None = None) -> Account:
    """The account of a target. Blocks to read files; sends no request.

    Targets with the same `sign_ins` share the tokens of an account; None = its own.

    Raises ConfigError if the cloud is unknown or a value for its way of signing in is missing.
    """
    sign_ins = sign_ins or SignIns()
    plain_one = plain_account(key, settings, os.environ, home=_home(), folder=Path.cwd())
    if plain_one is not None:
        account = environment_account(plain_one, settings, sign_ins)
    else:
        from batchexport.cloud.auth.clouds_yaml import clouds_yaml_account  # takes a third of a second

        account = clouds_yaml_account(key, settings, sign_ins)
    if not account.tls.verify:
        note = "certificates are not verified (verify: false, or insecure): anyone can impersonate the cloud"
        account = replace(account, notes=(*account.notes, note))
    return account


def _home() -> Path | None:
    """The user's home, or None: an arbitrary user of a container may have none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def account_facts(
    account: Account, credential: Credential, block_storage: Endpoint, image_service: Endpoint
) -> AccountFacts:
    """The facts known from the credential and the endpoints."""
    token = credential if isinstance(credential, Token) else None
    life_s = None
    if token is not None and token.issued_at is not None and token.expires_at is not None:
        life_s = token.expires_at - token.issued_at
    return AccountFacts(
        signs_requests=token is None,
        project_id=credential.project_id,
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
    """A note on endpoints without TLS if signing in uses it: tokens are sent there in clear text."""
    if not (account.identity_url or "").startswith("https://"):
        return []
    urls = [endpoint.url for endpoint in endpoints if endpoint.url.startswith("http://")]
    return [f"requests and their tokens are sent in clear text to {', '.join(urls)}"] if urls else []


def identity_of(account: Account, credential: Credential, block_storage: Endpoint) -> CloudIdentity:
    """Which cloud it is, by the account and its sign-in."""
    return CloudIdentity(
        cloud=account.cloud,
        region=block_storage.region,
        project_id=credential.project_id,
        project_name=credential.project_name if isinstance(credential, Token) else None,
        identity_url=service_address(account.identity_url) if account.identity_url else None,
        block_storage_url=service_address(block_storage.url),
    )

"""A cloud to work on: signed in, with its endpoints found, every request behind one rate limiter."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property, partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batchexport.cloud.auth.account import Account, environment_account, plain_account
from batchexport.cloud.auth.sign_in_pacing import SignIns
from batchexport.cloud.auth.threads import run_in_thread
from batchexport.cloud.auth.tokens import Token
from batchexport.cloud.block_storage import BlockStorage
from batchexport.cloud.catalog import Endpoint, find_block_storage, find_compute, find_image_service
from batchexport.cloud.compute import Compute
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


class Cloud:
    """One project in one region: its services, behind one rate limiter and one sign-in.

    Every call of a service raises only errors of CloudError (and what a fence raises).
    """

    def __init__(
        self,
        session: HttpSession,
        block_storage: BlockStorage,
        image: ImageService,
        find_compute: Callable[[], Compute],
        *,
        dialect: Dialect,
        facts: AccountFacts,
        identity: CloudIdentity | None,
    ) -> None:
        self.block_storage = block_storage
        self.image = image
        self.dialect = dialect
        self.facts = facts
        self.identity = identity
        self._session = session
        self._find_compute = find_compute

    @cached_property
    def compute(self) -> Compute:
        """Its servers. Raises ConfigError where no compute service is found: most runs need none."""
        return self._find_compute()

    @property
    def requests_per_second(self) -> float:
        """The rate that is allowed now; 0 = not limited."""
        return self._session.requests_per_second

    @property
    def traffic(self) -> Traffic:
        """What went over the wire so far."""
        return self._session.traffic

    def server_now_s(self) -> float:
        """Seconds since the epoch by the cloud's clock, never ahead of it."""
        return self._session.server_now_s()


@asynccontextmanager
async def connect(
    key: TargetKey,
    access: CloudSettings,
    *,
    limits: Limits,
    gate: RateLimiter | None = None,
    sign_ins: SignIns | None = None,
) -> AsyncIterator[Cloud]:
    """A cloud that is signed in to, closed at the end. What `key` says wins over `access`.

    `gate` is for targets that share one; None = a gate of its own, at the rate of `limits`. `sign_ins` is for
    targets that sign in together; None = for itself alone, and with little patience. Raises
    ConfigError for a cloud, region or service that is not there, SignInError, UnreachableError or
    TransientError where no token is given, and CloudError where the image service does not answer.
    """
    sign_ins = sign_ins or SignIns()
    account = await run_in_thread(partial(load_account, key, access, sign_ins), limit_s=None)
    held = await sign_ins.first(account.authenticator)
    block_storage, dialect = find_block_storage(held.catalog, account.preferences, project_id=held.project_id)
    image_service = find_image_service(held.catalog, account.preferences)
    async with open_http(account.tls, connections=limits.concurrency) as http:
        session = HttpSession(
            http,
            account.authenticator,
            gate or RateLimiter(limits.requests_per_second),
            concurrency=limits.concurrency,
        )
        session.proxy_for(block_storage.url)  # a setting to correct shows before anything is sent
        # Before the first answer of a service, the token's own date tells how far our clock is off.
        session.learn_clock(held.issued_at)
        volumes = BlockStorage(session, block_storage, dialect)
        if account.unproven:
            await volumes.probe()
        images = ImageService(session, image_service, dialect, project_id=held.project_id)
        # Nothing is exported that nobody could watch; and the images' times are by this service's clock.
        await images.probe()
        facts = account_facts(account, held, block_storage, image_service)
        sign_ins.mention(facts.config_files, facts.notes)

        def compute() -> Compute:
            endpoints = find_compute(held.catalog, account.preferences, dialect, project_id=held.project_id)
            return Compute(session, endpoints)

        identity = identity_of(account, held, block_storage)
        yield Cloud(session, volumes, images, compute, dialect=dialect, facts=facts, identity=identity)


def load_account(key: TargetKey, access: CloudSettings, sign_ins: SignIns | None = None) -> Account:
    """The account that a target means. Blocks to read files; asks no server.

    Targets with the same `sign_ins` share the tokens of an account; None = those of this target alone.

    Raises ConfigError where the cloud is not known or a value for its way of signing in is missing.
    """
    sign_ins = sign_ins or SignIns()
    plain_one = plain_account(key, access, os.environ, home=_home(), folder=Path.cwd())
    if plain_one is not None:
        account = environment_account(plain_one, access, sign_ins)
    else:
        from batchexport.cloud.auth.clouds_yaml import clouds_yaml_account  # takes a third of a second

        account = clouds_yaml_account(key, access, sign_ins)
    if not account.tls.verify:
        note = (
            "the cloud's certificates are not checked (verify: false, or insecure): anyone can impersonate it"
        )
        account = replace(account, notes=(*account.notes, note))
    return account


def _home() -> Path | None:
    """The user's home, or None for one without: a made-up user in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def account_facts(
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

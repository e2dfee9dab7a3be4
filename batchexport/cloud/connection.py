"""A cloud to work on: signed in, with its endpoints found, every request behind one rate limiter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property, partial

from batchexport.cloud.account import load_account
from batchexport.cloud.aside import in_thread
from batchexport.cloud.catalog import find_block_storage, find_compute, find_image_service
from batchexport.cloud.facts import AccountFacts, facts_of, identity_of
from batchexport.cloud.images import ImageService
from batchexport.cloud.servers import Compute
from batchexport.cloud.session import Session
from batchexport.cloud.sign_ins import SignIns
from batchexport.cloud.traffic import Traffic
from batchexport.cloud.transport import open_http
from batchexport.cloud.volumes import BlockStorage
from batchexport.config.settings import CloudSettings, Limits
from batchexport.dialect import Dialect
from batchexport.gate import RateGate
from batchexport.identity import CloudIdentity
from batchexport.model import TargetKey


class Cloud:
    """One project in one region: its services, behind one rate limiter and one sign-in.

    Every call of a service raises only errors of CloudError (and what a fence raises).
    """

    def __init__(
        self,
        session: Session,
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
    gate: RateGate | None = None,
    sign_ins: SignIns | None = None,
) -> AsyncIterator[Cloud]:
    """A cloud that is signed in to, closed at the end. What `key` says wins over `access`.

    `gate` is for targets that share one; None = a gate of its own, at the rate of `limits`. `sign_ins` is for
    targets that sign in together; None = for itself alone, and with little patience. Raises
    ConfigError for a cloud, region or service that is not there, SignInError, UnreachableError or
    TransientError where no token is given, and CloudError where the image service does not answer.
    """
    sign_ins = sign_ins or SignIns()
    account = await in_thread(partial(load_account, key, access, sign_ins), limit_s=None)
    held = await sign_ins.first(account.authorizer)
    block_storage, dialect = find_block_storage(held.catalog, account.wishes, project_id=held.project_id)
    image_service = find_image_service(held.catalog, account.wishes)
    async with open_http(account.trust, connections=limits.concurrency) as http:
        session = Session(
            http,
            account.authorizer,
            gate or RateGate(limits.requests_per_second),
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
        facts = facts_of(account, held, block_storage, image_service)
        sign_ins.mention(facts.config_files, facts.notes)

        def compute() -> Compute:
            endpoints = find_compute(held.catalog, account.wishes, dialect, project_id=held.project_id)
            return Compute(session, endpoints)

        identity = identity_of(account, held, block_storage)
        yield Cloud(session, volumes, images, compute, dialect=dialect, facts=facts, identity=identity)

"""The client of one target: signed in, with its endpoints found, every call behind one gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from batchexport.cloud.account import load_account
from batchexport.cloud.aside import in_thread
from batchexport.cloud.catalog import find_block_storage, find_compute, find_image_service
from batchexport.cloud.facts import AccountFacts, facts_of, identity_of
from batchexport.cloud.images import Images
from batchexport.cloud.servers import Servers
from batchexport.cloud.session import Session
from batchexport.cloud.sign_ins import SignIns
from batchexport.cloud.traffic import Traffic
from batchexport.cloud.transport import open_http
from batchexport.cloud.volumes import Volumes
from batchexport.config.settings import CloudSettings, Limits
from batchexport.dialect import Dialect
from batchexport.errors import CloudError
from batchexport.gate import RateGate
from batchexport.identity import CloudIdentity
from batchexport.model import Accepted, ExportRequest, Image, ImageQuota, Server, TargetKey, Volume


class CloudClient:
    """One project in one region. Every call raises only errors of CloudError (and what a fence raises)."""

    def __init__(
        self,
        session: Session,
        volumes: Volumes,
        images: Images,
        dialect: Dialect,
        facts: AccountFacts,
        find_servers: Callable[[], Servers],
        *,
        identity: CloudIdentity | None = None,
    ) -> None:
        self.identity = identity
        self.dialect = dialect
        self.facts = facts
        self._session = session
        self._volumes = volumes
        self._images = images
        self._find_servers = find_servers
        self._servers: Servers | None = None  # until first asked for: most runs need no compute service

    @property
    def requests_per_second(self) -> float:
        """The rate the gate allows now; 0 = not limited."""
        return self._session.requests_per_second

    @property
    def traffic(self) -> Traffic:
        """What went over the wire so far."""
        return self._session.traffic

    def server_now_s(self) -> float:
        """Seconds since the epoch by the cloud's clock, never ahead of it."""
        return self._session.server_now_s()

    async def upload_volume_to_image(self, request: ExportRequest, *, fence: Callable[[], None]) -> Accepted:
        """Start the export of a volume: one request, never repeated by the client."""
        return await self._volumes.export(request, fence=fence)

    async def volume(self, volume_id: str) -> Volume | None:
        """The volume, or None where the cloud knows none of this id."""
        return await self._volumes.volume(volume_id)

    def volumes(self, *, status: str | None = None) -> AsyncIterator[Sequence[Volume]]:
        """Pages of the project's volumes with their details; with a status, short ones of it alone."""
        return self._volumes.volumes(status=status)

    async def image(self, image_id: str) -> Image | None:
        """The image, or None where the cloud knows none of this id."""
        return await self._images.image(image_id)

    async def images_named(self, name: str) -> Sequence[Image]:
        """Every image of exactly this name that the project can see, whatever its status."""
        return await self._images.images_named(name)

    def images(
        self,
        *,
        status: str | None = None,
        created_since: float | None = None,
        updated_since: float | None = None,
    ) -> AsyncIterator[Sequence[Image]]:
        """Pages of the project's images, longest unchanged first; oldest first with `created_since`."""
        return self._images.images(status=status, created_since=created_since, updated_since=updated_since)

    async def image_quota(self) -> ImageQuota | None:
        """How many images the project may have and has, or None where the cloud does not tell."""
        return await self._images.quota(self.dialect)

    def images_by_id(self, image_ids: Sequence[str]) -> AsyncIterator[Sequence[Image]]:
        """Those of these images that are there, in batches; a cloud that cannot do it refuses, or strays."""
        return self._images.images_by_id(image_ids)

    async def delete_image(self, image_id: str, *, fence: Callable[[], None]) -> None:
        """Delete the image. Raises NotFoundError where it is gone already."""
        await self._images.delete(image_id, fence=fence)

    async def failure_reason(self, volume_id: str, request_id: str | None) -> str | None:
        """The cloud's own message on a failed export, or None where it keeps none."""
        return await self._volumes.failure_reason(volume_id, request_id)

    def servers(self, server_ids: Sequence[str]) -> AsyncIterator[Sequence[Server]]:
        """What is known of these servers now. Raises ConfigError where no compute service is found."""
        return self._compute().servers(server_ids)

    async def server(self, server_id: str) -> Server:
        """The server, asked for by its id."""
        return await self._compute().server(server_id)

    async def stop_servers(
        self, server_ids: Sequence[str], *, hard: bool, fence: Callable[[], None]
    ) -> Mapping[str, CloudError]:
        """Ask for these to be stopped. Returns why, for those of which it was not taken or nobody knows."""
        return await self._compute().stop(server_ids, hard=hard, fence=fence)

    async def start_servers(
        self, server_ids: Sequence[str], *, fence: Callable[[], None]
    ) -> Mapping[str, CloudError]:
        """Ask for these to be started; returns as `stop_servers`."""
        return await self._compute().start(server_ids, fence=fence)

    def _compute(self) -> Servers:
        if self._servers is None:
            self._servers = self._find_servers()
        return self._servers


@asynccontextmanager
async def connect(
    key: TargetKey,
    access: CloudSettings,
    *,
    limits: Limits,
    gate: RateGate | None = None,
    sign_ins: SignIns | None = None,
) -> AsyncIterator[CloudClient]:
    """A client that is signed in, closed at the end. What `key` says wins over `access`.

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
        volumes = Volumes(session, block_storage, dialect)
        if account.unproven:
            await volumes.probe()
        images = Images(session, image_service, project_id=held.project_id)
        # Nothing is exported that nobody could watch; and the images' times are by this service's clock.
        await images.probe()
        facts = facts_of(account, held, block_storage, image_service)
        sign_ins.mention(facts.config_files, facts.notes)

        def find_servers() -> Servers:
            endpoints = find_compute(held.catalog, account.wishes, dialect, project_id=held.project_id)
            return Servers(session, endpoints)

        identity = identity_of(account, held, block_storage)
        yield CloudClient(session, volumes, images, dialect, facts, find_servers, identity=identity)

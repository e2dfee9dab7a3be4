"""Check what a run needs first: credentials, endpoints, permissions, clock. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport.app.connections import connections
from batchexport.cloud import Cloud
from batchexport.config import CloudSettings, Settings
from batchexport.errors import AuthenticationError, BatchExportError, ConfigError
from batchexport.model import Image, TargetKey, Volume
from batchexport.plan import account_checks
from batchexport.plan.account_checks import Check, CheckResult

#: A page that holds so many may be followed by another.
FULL_PAGE = 1000


async def check_account(
    settings: Settings, access: CloudSettings
) -> tuple[list[Check], BatchExportError | None]:
    """What was checked, and the error at which the checks ended; None = they went through."""
    checks: list[Check] = []
    key = TargetKey()
    with TemporaryDirectory(prefix="batchexport-") as folder:
        state_path = Path(folder) / "doctor.state"
        try:
            async with (
                connections([key], access, settings.limits, state_path=state_path) as connect,
                connect(key, None) as cloud,
            ):
                assert isinstance(cloud, Cloud)  # the engine's view of it has no account to look at
                async for check in _checks(cloud):
                    checks.append(check)
        except BatchExportError as error:
            return [*checks, _broken(error, reached=bool(checks))], error
    return checks, None


async def _checks(cloud: Cloud) -> AsyncIterator[Check]:
    for check in (
        *account_checks.of_account(cloud.facts),
        *account_checks.of_configuration(cloud.facts),
        *account_checks.of_endpoints(cloud.facts, cloud.dialect),
    ):
        yield check
    yield _listed("volumes", await _first_page(cloud.block_storage.volumes()))
    yield _listed("images", await _first_page(cloud.image.images()))
    yield account_checks.of_quota(await cloud.image.get_quota())
    ahead_s = cloud.server_now_s() - time.time()
    yield account_checks.of_clock(ahead_s, signs_requests=cloud.facts.signs_requests)


async def _first_page(
    pages: AsyncIterator[Sequence[Volume]] | AsyncIterator[Sequence[Image]],
) -> Sequence[Volume] | Sequence[Image]:
    async for page in pages:
        return page
    return ()


def _listed(name: str, page: Sequence[Volume] | Sequence[Image]) -> Check:
    return account_checks.of_list(name, len(page), more=len(page) >= FULL_PAGE)


def _broken(error: BatchExportError, *, reached: bool) -> Check:
    match error:
        case ConfigError():
            name = "configuration"
        case AuthenticationError():
            name = "sign-in"
        case _:
            name = "lists" if reached else "connection"
    return Check(name=name, result=CheckResult.BAD, words=str(error))

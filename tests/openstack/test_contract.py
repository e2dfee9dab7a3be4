"""The contract of the cloud ports on a real OpenStack: the same cases as for the client on the sandbox."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from batchexport.cloud import connect
from batchexport.config import CloudSettings, Limits
from batchexport.model import TargetKey
from tests.cloud.contract.cases import CASES, NEEDS_FAILURES, NEEDS_SERVERS, Case
from tests.cloud.contract.copy_cases import COPY_CASES, COPY_CASES_WITH_SERVERS
from tests.cloud.contract.site import Site


def named(cases: Sequence[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.__name__)


async def run(case: Case, **site: Any) -> None:
    limits = Limits(requests_per_second=20)
    async with connect(TargetKey(), CloudSettings(), limits=limits) as cloud:
        await case(Site(cloud=cloud, name=f"batchexport-{uuid.uuid4().hex[:8]}", look_s=0.5, **site))


@named([*CASES, *COPY_CASES])
async def test_the_contract_holds(few_volumes: Any, case: Case) -> None:
    await run(case, volumes=few_volumes(3))


@named([*NEEDS_SERVERS, *COPY_CASES_WITH_SERVERS])
async def test_the_contract_holds_for_servers(few_volumes: Any, make_server: Any, case: Case) -> None:
    *volumes, in_use = few_volumes(4)
    servers = [make_server([in_use]), make_server()]
    await run(case, volumes=volumes, servers=servers, in_use=in_use)


@named(NEEDS_FAILURES)
async def test_the_contract_holds_for_failed_exports(troubled: Any, case: Case) -> None:
    (failing,) = troubled(1, "--fail", "no space left on device")
    await run(case, volumes=(), failing=failing)

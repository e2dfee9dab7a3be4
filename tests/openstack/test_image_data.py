"""The contract of the data of images on a real OpenStack."""

from __future__ import annotations

from typing import Any

import pytest

from batchexport.cloud import connect
from batchexport.config import CloudSettings, Limits
from batchexport.model import TargetKey
from tests.cloud.contract.data_cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_contract_of_image_data_holds(cloud: Any, case: Case) -> None:
    async with connect(TargetKey(), CloudSettings(), limits=Limits(requests_per_second=20)) as client:
        await case(client)

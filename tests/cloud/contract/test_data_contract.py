"""The cases about the data of images, with the real client on the sandbox.

`tests/openstack/test_image_data.py` runs them on a real OpenStack.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from batchexport.cloud import Cloud, connect
from batchexport.config import CloudSettings, Limits
from batchexport.model import TargetKey
from batchexport.sandbox import clouds_yaml, serve
from tests.cloud.contract.data_cases import CASES, Case

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OS_CLOUD", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.fixture
async def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_proxies: None) -> AsyncIterator[Cloud]:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    async with serve() as sandbox:
        (tmp_path / "clouds.yaml").write_text(clouds_yaml(sandbox.url))
        limits = Limits(requests_per_second=0)
        async with connect(TargetKey(), CloudSettings(cloud="sandbox"), limits=limits) as cloud:
            yield cloud


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_sandbox(cloud: Cloud, case: Case) -> None:
    await case(cloud)

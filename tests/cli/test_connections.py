from pathlib import Path

import pytest

from batchexport.app.connections import connections
from batchexport.config import CloudSettings, Limits
from batchexport.model import TargetKey
from batchexport.sandbox import clouds_yaml, serve
from tests.cli.clouds import define

KEY = TargetKey(cloud="sandbox")


@pytest.mark.parametrize(("learnt", "rate"), [(None, 5.0), (2.0, 2.0), (9.0, 5.0)])
async def test_a_rate_learnt_earlier_counts_where_it_is_lower(
    learnt: float | None, rate: float, tmp_path: Path
) -> None:
    async with serve() as sandbox:
        define(clouds_yaml(sandbox.url))
        opened = connections([KEY], CloudSettings(), Limits(), state_path=tmp_path / "a.state")
        async with opened as connect, connect(KEY, learnt) as client:
            assert client.requests_per_second == rate
    assert not (tmp_path / "a.state.sandbox").exists()


async def test_the_practice_cloud_starts_with_the_first_connection_only(tmp_path: Path) -> None:
    journal = tmp_path / "a.state.sandbox"
    access = CloudSettings(cloud="sandbox")
    opened = connections([TargetKey()], access, Limits(), state_path=tmp_path / "a.state")
    async with opened as connect:
        assert not journal.exists()
        async with connect(TargetKey(), None) as client:
            assert await client.image.images_named("nothing yet") == []
    assert journal.exists()

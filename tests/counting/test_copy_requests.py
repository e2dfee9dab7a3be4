"""What the export of a volume in use costs the cloud, lists included."""

import pytest

from batchexport.config import CopyLimits, InUse, Limits, Settings
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_copies import CopyCloud

VOLUMES = 100
AT_ONCE = Settings(
    in_use=InUse.SNAPSHOT, copies=CopyLimits(max_temporary=VOLUMES), limits=Limits(max_exports=VOLUMES)
)
BY_DEFAULT = Settings(in_use=InUse.SNAPSHOT)


@pytest.mark.parametrize(
    ("settings", "clones", "most"),
    [(AT_ONCE, True, 4.6), (AT_ONCE, False, 8.2), (BY_DEFAULT, True, 6.1), (BY_DEFAULT, False, 9.6)],
)
def test_a_volume_in_use_costs_few_requests(
    bench: Bench, settings: Settings, clones: bool, most: float
) -> None:
    """Of a snapshot two requests more are reads by id: nothing is called gone that only lists lack."""
    ids = volume_ids(VOLUMES)
    cloud = CopyCloud(
        {each: f"server-{each[:8]}" for each in ids}, clones=clones, create_s=30.0, upload_s=120.0
    )
    bench.load(ids, name="{}-20270115-aaaaaa")  # as by default: a name that holds the run
    bench.run(cloud, settings=settings)
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.left() == []
    assert sum(cloud.calls.values()) / VOLUMES <= most

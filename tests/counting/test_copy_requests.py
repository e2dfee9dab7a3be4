"""What the export of a volume in use costs the cloud, lists included."""

import pytest

from batchexport.config import CopyLimits, InUse, Limits, Settings
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_copies import CopyCloud

VOLUMES = 100
SETTINGS = Settings(
    in_use=InUse.SNAPSHOT, copies=CopyLimits(max_temporary=VOLUMES), limits=Limits(max_exports=VOLUMES)
)


@pytest.mark.parametrize(("clones", "most"), [(True, 4.1), (False, 6.1)])
def test_a_volume_in_use_costs_few_requests(bench: Bench, clones: bool, most: float) -> None:
    ids = volume_ids(VOLUMES)
    cloud = CopyCloud(
        {each: f"server-{each[:8]}" for each in ids}, clones=clones, create_s=30.0, upload_s=120.0
    )
    bench.load(ids, name="{}-20270115-aaaaaa")  # as by default: a name that holds the run
    bench.run(cloud, settings=SETTINGS)
    assert set(bench.states().values()) == {"succeeded"}
    assert cloud.left() == []
    assert sum(cloud.calls.values()) / VOLUMES <= most

"""Two targets of a list that turn out to be one project."""

import pytest

from batchexport.errors import UnreachableError
from batchexport.identity import CloudIdentity
from batchexport.model import TargetKey
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fast_time import run_fast
from tests.store.making import alter

ONE, TWO = TargetKey(cloud="one"), TargetKey(cloud="two")
SAME = CloudIdentity(
    cloud="one",
    region="r",
    project_id="p",
    project_name="p",
    identity_url="https://i",
    block_storage_url="https://b",
    is_sandbox=False,
)


def test_of_two_rows_for_one_volume_the_one_that_was_tried_before_goes_on(bench: Bench) -> None:
    """It knows the image that its stuck attempt has made, and the other does not."""
    (volume_id,) = volume_ids(1)
    bench.load([volume_id, volume_ids(2)[1]], targets=(TWO, ONE))
    alter(bench.path, f"UPDATE job SET volume_id = '{volume_id}'")
    cloud = FakeCloud(faults={volume_id: ["orphan"]})
    cloud.identity = SAME

    def only_one_answers(key: TargetKey) -> FakeCloud:
        if key == TWO:
            raise UnreachableError("connection refused")
        return cloud

    with pytest.raises(UnreachableError):
        bench.run(only_one_answers, retries=0)
    cloud.records["image-1"] |= {"active_at": cloud.server_now_s(), "stuck": None}

    async def retry() -> None:
        async with bench.open() as state:
            work = await state.take(1)
            assert await work.retry() == 1
            await work.release()

    run_fast(retry())
    bench.run(cloud)
    with bench.reader() as reader:
        jobs = list(reader.jobs())
    assert [(str(job.state), job.image_id) for job in jobs] == [("succeeded", "image-1"), ("skipped", None)]
    assert len(cloud.posts) == 1

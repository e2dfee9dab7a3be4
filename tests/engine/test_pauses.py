"""How long nothing is sent to a cloud that takes no requests."""

from collections.abc import Callable
from typing import Any

from batchexport.errors import TransientError
from batchexport.model import Accepted, ExportRequest
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud
from tests.engine.test_evidence import one_image_each


def test_requests_that_meet_one_outage_together_count_as_one(bench: Bench) -> None:
    ids = volume_ids(20)
    bench.load(ids)
    cloud = FakeCloud(faults={each: ["unreachable"] for each in ids[:12]})
    bench.run(cloud, concurrency=12, max_exports=20)
    one_image_each(bench, cloud, ids)
    assert cloud.posts[-1][0] - cloud.posts[0][0] < 20.0


def test_a_cloud_that_says_for_how_long_it_is_away_is_left_alone_for_so_long(bench: Bench) -> None:
    ids = volume_ids(6)
    bench.load(ids)
    refused: list[Any] = []

    class Away(FakeCloud):
        async def upload_volume_to_image(
            self, request: ExportRequest, *, fence: Callable[..., Any]
        ) -> Accepted:
            if len(refused) < 3:
                fence()
                refused.append(self.server_now_s())
                raise TransientError("maintenance", status=503, retry_after_s=300.0)
            return await super().upload_volume_to_image(request, fence=fence)

    cloud = Away()
    bench.run(cloud, concurrency=1)
    one_image_each(bench, cloud, ids)
    assert cloud.posts[0][0] >= refused[-1] + 300.0

"""One late or wrong answer about a volume of servers: no copy of a running disk, no row failed for it."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from batchexport.config import InUse, Limits, Settings
from batchexport.errors import TransientError, VolumeStateError
from batchexport.model import Accepted, ExportRequest, Image, JobState, Volume
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_servers import ServedCloud
from tests.engine.test_evidence import retry

IDS = volume_ids(3)
STOP = Settings(in_use=InUse.STOP, limits=Limits(poll_interval_s=5.0))


def test_one_refusal_of_a_forced_export_ends_not_all_rows_that_wait(bench: Bench) -> None:
    """Somebody else's export of the volume had just ended when the volume was looked at."""
    bench.load(IDS)
    cloud = ServedCloud({volume_id: [f"s{number}"] for number, volume_id in enumerate(IDS)})
    refusals = [VolumeStateError("status must be available", method="POST", status=400)]
    truly = cloud.upload_volume_to_image

    async def upload(request: ExportRequest, *, fence: Callable[..., Any]) -> Accepted:
        if request.options.force and refusals:
            fence()
            raise refusals.pop()
        return await truly(request, fence=fence)

    cloud.upload_volume_to_image = upload
    bench.run(cloud, settings=STOP)
    assert set(bench.states().values()) == {"succeeded"}
    assert not cloud.torn


def test_a_volume_that_is_not_found_is_not_sent_with_force(bench: Bench) -> None:
    """Its server may run by now, and nobody looked."""
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["s0"]})
    truly, sent = cloud.get_volume, []

    async def volume(volume_id: str) -> Volume | None:
        found = await truly(volume_id)
        if cloud.orders == [("stop", "s0")] and cloud.machines["s0"].look()[0] == "shutoff" and not sent:
            sent.append(volume_id)
            cloud.machines["s0"].turn("active", None, 0.0)  # somebody starts it
            cloud.machines["s0"].look()
            return None
        return found

    cloud.get_volume = volume
    bench.run(cloud, settings=STOP)
    assert sent
    assert not cloud.torn


def test_an_image_of_an_earlier_night_that_is_found_while_a_request_is_in_doubt_is_no_plain_success(
    bench: Bench,
) -> None:
    """After the row had failed nothing kept its server down; the look before the next request failed."""
    bench.load(IDS[:1])
    cloud = ServedCloud({IDS[0]: ["s0"]}, faults={IDS[0]: ["orphan"]})
    bench.run(cloud, settings=replace(STOP, limits=Limits(poll_interval_s=5.0, retries=0)))
    assert bench.states() == {IDS[0]: "failed"}
    (image_id,) = cloud.exports_of(IDS[0])
    cloud.records[image_id] |= {"active_at": cloud.server_now_s(), "stuck": None}
    retry(bench)
    truly, failing = cloud.images_named, [True]

    async def images_named(name: str) -> list[Image]:
        if failing and failing.pop():
            raise TransientError("bad gateway", status=502)
        return await truly(name)

    cloud.images_named = images_named
    bench.run(cloud, settings=STOP)
    job = bench.jobs()[IDS[0]]
    assert (job.state, job.image_id, len(cloud.posts)) == (JobState.SUCCEEDED, image_id, 1)
    assert job.code == "server_ran"

"""One late or wrong answer about a volume of servers: no copy of a running disk, no row failed for it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import InUse, Limits, Settings
from batchexport.errors import TransientError, VolumeStateError
from batchexport.model import Accepted, ExportRequest, Image, JobState, Server, Volume
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_servers import ServedCloud
from tests.engine.fast_time import fast_now
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
    truly = cloud.get_volume
    sent: list[str] = []

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


class Behind:
    """Tells of servers as they were so long ago, in the answer to one of so many questions."""

    def __init__(self, lag_s: float, every: int) -> None:
        self._lag_s, self._every = lag_s, every
        self._asked = 0
        self._records: dict[
            str, list[tuple[Server, float]]
        ] = {}  # by server id: each record, and since when it is true

    def __call__(self, server: Server) -> Server:
        self._asked += 1
        records = self._records.setdefault(server.server_id, [(server, -1e9)])
        if records[-1][0] != server:
            records.append((server, fast_now()))
        if self._asked % self._every:
            return server
        return next(record for record, since in reversed(records) if since <= fast_now() - self._lag_s)


@pytest.mark.parametrize("tells_update", [True, False])
@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("lost_starts", [0, 2])
def test_a_server_that_an_old_answer_shows_running_is_started(
    bench: Bench, tells_update: bool, every: int, lost_starts: int
) -> None:
    """It ran before it was stopped for the export, which took less time than the replica is behind."""
    bench.load(IDS)
    attached = {volume_id: [f"s{number}"] for number, volume_id in enumerate(IDS)}
    cloud = ServedCloud(attached, upload_s=5.0)
    for machine in cloud.machines.values():
        machine.stop_s, machine.start_s, machine.tells_update = 1.0, 1.0, tells_update
    cloud.repeat = Behind(20.0, every)
    cloud.order_errors = [("start", TransientError("no back end", status=503))] * lost_starts
    bench.run(cloud, settings=STOP)
    assert cloud.running() == set(cloud.machines)
    assert not cloud.torn
    assert set(bench.states().values()) == {"succeeded"}


def test_a_list_alone_that_shows_a_server_running_casts_no_doubt_on_its_copy(bench: Bench) -> None:
    """The list is behind; asked by its id, the server is off as long as it is copied."""
    bench.load(IDS)
    cloud = ServedCloud({volume_id: [f"s{number}"] for number, volume_id in enumerate(IDS)}, upload_s=60.0)
    truly, lies = cloud.servers, 0

    async def told(server: Server) -> Server:
        nonlocal lies
        volumes = [await cloud.get_volume(volume_id) for volume_id in server.volume_ids or ()]
        if server.status != "shutoff" or not any(each and each.status == "uploading" for each in volumes):
            return server
        lies += 1
        return replace(server, status="active", task=None)

    async def servers(server_ids: list[str]) -> AsyncIterator[list[Server]]:
        async for page in truly(server_ids):
            yield [await told(server) for server in page]

    cloud.servers = servers
    bench.run(cloud, settings=STOP)
    assert lies
    assert {(job.state, job.code) for job in bench.jobs().values()} == {(JobState.SUCCEEDED, None)}
    assert cloud.running() == set(cloud.machines)
    assert not cloud.torn

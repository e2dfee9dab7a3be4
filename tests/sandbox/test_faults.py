from __future__ import annotations

import uuid

import aiohttp
import pytest

from batchexport.sandbox import Faults, SandboxSettings
from batchexport.sandbox.fault_injection import Bucket
from tests.sandbox.asking import IMAGES, V3, VOLUME, Asker, asking, by_password

VOLUMES = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"fault-{number}")) for number in range(40)]


async def test_a_dropped_answer_leaves_an_export_under_way() -> None:
    async with asking(SandboxSettings(faults=Faults(drop_share=1.0))) as asker:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await asker.export("lost")
        (image,) = (await asker.get(f"{IMAGES}?name=lost")).json["images"]
        assert image["status"] == "queued"
        assert asker.sandbox.exports_per_volume == {VOLUME: 1}
        assert asker.sandbox.counts["dropped"] == 1
        assert (await asker.export("again")).status == 400  # a refusal is answered: nothing was accepted


async def error_statuses(asker: Asker) -> list[int]:
    return [(await asker.get(IMAGES)).status for _ in range(60)]


async def test_a_share_of_the_requests_ends_in_503_or_500() -> None:
    settings = SandboxSettings(faults=Faults(error_share=0.5, seed=3))
    async with asking(settings) as asker:
        first = await error_statuses(asker)
    assert set(first) == {200, 500, 503}
    async with asking(settings) as asker:
        assert await error_statuses(asker) == first  # the same seed, the same victims


async def test_an_error_means_that_nothing_was_done() -> None:
    async with asking(SandboxSettings(faults=Faults(error_share=1.0))) as asker:
        answers = [await asker.export(volume_id=volume_id) for volume_id in VOLUMES]
        assert {answer.status for answer in answers} == {500, 503}
        assert asker.sandbox.exports_per_volume == {}
        assert asker.sandbox.counts["errors"] == len(VOLUMES)
        assert (await asker.sign_in(identity=by_password())).status == 201
        assert (await asker.get("/volume/")).status == 300


async def test_a_gateway_speaks_html_and_the_service_its_own_envelope() -> None:
    async with asking(SandboxSettings(faults=Faults(error_share=1.0))) as asker:
        answers = {answer.status: answer for answer in [await asker.get(f"{V3}/volumes") for _ in range(20)]}
        assert answers[503].headers["Content-Type"].startswith("text/html")
        assert answers[500].json["computeFault"]["code"] == 500


async def test_a_share_of_the_exports_fails_after_the_202() -> None:
    async with asking(SandboxSettings(faults=Faults(fail_share=0.5, seed=1))) as asker:
        image_ids = [await asker.exported(volume_id=volume_id) for volume_id in VOLUMES]
        asker.clock.at += 60
        statuses = [(await asker.get(f"{IMAGES}/{image_id}")).status for image_id in image_ids]
        assert set(statuses) == {200, 404}
        assert (await asker.get(f"{V3}/volumes?status=uploading")).json["volumes"] == []


async def test_actions_beyond_the_rate_are_refused_until_time_has_passed() -> None:
    async with asking(SandboxSettings(rate=2.0, burst=3, retry_after_s=1.5)) as asker:
        answers = [await asker.export(volume_id=volume_id) for volume_id in VOLUMES[:5]]
        assert [answer.status for answer in answers] == [202, 202, 202, 429, 429]
        assert answers[3].headers["Retry-After"] == "1.5"
        assert answers[3].json["error_code"] == "APIG.0308"
        assert asker.sandbox.counts["throttled"] == 2
        assert (await asker.get(IMAGES)).status == 200  # reads are not limited
        asker.clock.at += 0.5
        assert (await asker.export(volume_id=VOLUMES[3])).status == 202
        assert (await asker.export(volume_id=VOLUMES[4])).status == 429


async def test_the_limit_may_speak_as_cinders_own_does() -> None:
    async with asking(SandboxSettings(rate=1.0, burst=1, rate_status=413)) as asker:
        await asker.exported()
        answer = await asker.export(volume_id=VOLUMES[0])
        assert (answer.status, answer.headers["Retry-After"]) == (413, "1")
        assert answer.json["overLimitFault"]["message"] == "This request was rate-limited."


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    bucket = Bucket(rate=1.0, burst=1, tokens=1.0, filled_at=100.0)
    assert [bucket.take(now) for now in (100.0, 50.0, 50.5, 51.0)] == [True, False, False, True]

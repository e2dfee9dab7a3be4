"""Each fault of the weather, as a client meets it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

from batchexport.errors import ConfigError
from batchexport.sandbox import Profile, SandboxServer, SandboxSettings
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.weather import FAULTS, PRESETS, Weather, read_weather, settings, weather_from
from tests.sandbox.asking import ACTION, IMAGES, NEWEST, START, V3, VOLUME, Asker, asking, by_password

VOLUMES = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"weather-{number}")) for number in range(40)]
SERVER = "3f0c1d5e-0000-4000-8000-00000000000a"
SERVERS = "/compute/v2.1/servers"


@asynccontextmanager
async def under(**faults: Any) -> AsyncIterator[Asker]:
    """A client of a sandbox whose weather is this, with one server that holds VOLUME."""
    server = SandboxServer(server_id=SERVER, name="vm", volume_ids=(VOLUME,))
    told = SandboxSettings(servers=[server], force_upload=True, weather=Weather(**faults))
    async with asking(told) as asker:
        yield asker


async def listed(asker: Asker, path: str = IMAGES, of: str = "images") -> list[str]:
    return [record["id"] for record in (await asker.get(path)).json[of]]


async def statuses(asker: Asker, path: str = IMAGES, *, times: int = 40) -> set[int]:
    return {(await asker.get(path)).status for _ in range(times)}


async def test_a_replica_that_lags_knows_nothing_of_the_last_seconds() -> None:
    async with under(lag=settings.Lag(share=1, seconds=3)) as asker:
        image_id = await asker.exported(volume_id=VOLUMES[0])
        assert (await asker.get(f"{IMAGES}/{image_id}")).status == 404
        assert await listed(asker) == []
        assert (await asker.get(f"{V3}/volumes/{VOLUMES[0]}")).json["volume"]["status"] == "available"
        asker.clock.at += 3
        assert (await asker.get(f"{IMAGES}/{image_id}")).json["status"] == "queued"
        assert (await asker.get(f"{V3}/volumes/{VOLUMES[0]}")).json["volume"]["status"] == "uploading"


async def test_lists_may_lag_while_reads_by_id_do_not() -> None:
    async with under(lag=settings.Lag(share=1, seconds=30, reads="lists")) as asker:
        image_id = await asker.exported(volume_id=VOLUMES[0])
        assert await listed(asker) == []
        assert (await asker.get(f"{IMAGES}/{image_id}")).status == 200


async def test_writes_are_never_late_for_the_services_that_answer_them() -> None:
    async with under(lag=settings.Lag(share=1, seconds=30)) as asker:
        await asker.exported(volume_id=VOLUMES[0])
        assert (await asker.export(volume_id=VOLUMES[0])).status == 400


async def test_a_record_is_missing_from_one_list_and_in_the_next() -> None:
    async with under(missing=settings.Missing(share=0.3)) as asker:
        ids = {await asker.exported(volume_id=volume_id) for volume_id in VOLUMES[:10]}
        lists = [set(await listed(asker)) for _ in range(10)]
        assert any(found < ids for found in lists)
        assert all(first | second == ids for first, second in pairwise(lists))


async def test_a_cache_repeats_what_was_true() -> None:
    async with under(stale=settings.Stale(share=1, seconds=5)) as asker:
        assert await listed(asker) == []
        await asker.exported(volume_id=VOLUMES[0])
        assert await listed(asker) == []
        asker.clock.at += 6
        assert len(await listed(asker)) == 1


async def test_a_list_may_hold_an_image_that_does_not_decode() -> None:
    async with under(odd_image=settings.OddImage()) as asker:
        (record,) = (await asker.get(IMAGES)).json["images"]
        assert (record["__image_size"], record["virtual_size"]) == ("40 GB", "None")
        assert (await asker.get(f"{IMAGES}/{record['id']}")).json == record
        assert await listed(asker, f"{IMAGES}?name=web") == []


async def test_a_gateway_without_a_back_end_speaks_html_and_does_nothing() -> None:
    async with under(gateway=settings.Gateway(share=1)) as asker:
        answers = [await asker.export(volume_id=volume_id) for volume_id in VOLUMES]
        assert {answer.status for answer in answers} == {404, 502, 503, 504}
        assert answers[0].headers["Content-Type"].startswith("text/html")
        assert asker.sandbox.exports_per_volume == {}


async def test_a_list_ends_early_and_says_nothing_of_it() -> None:
    async with under(capped_lists=settings.CappedLists(records=3)) as asker:
        for volume_id in VOLUMES[:5]:
            await asker.exported(volume_id=volume_id)
        body = (await asker.get(f"{IMAGES}?limit=4")).json
        assert len(body["images"]) == 3
        assert "next" not in body
        volumes = (await asker.get(f"{V3}/volumes/detail?limit=4")).json
        assert set(volumes) == {"volumes"}


async def test_a_list_is_refused_while_the_same_records_are_told_by_id() -> None:
    async with under(refused_lists=settings.RefusedLists()) as asker:
        assert (await asker.get(f"{V3}/volumes/detail")).status == 403
        assert (await asker.get(f"{V3}/volumes/{VOLUME}")).status == 200
        assert (await asker.get(IMAGES)).status == 200


async def test_a_list_takes_longer_than_its_gateway_waits() -> None:
    async with under(slow_lists=settings.SlowLists(seconds=0.01)) as asker:
        assert await statuses(asker, f"{V3}/volumes/detail", times=3) == {504}


async def test_a_good_token_is_refused_now_and_then() -> None:
    async with under(flapping_token=settings.FlappingToken(share=0.3)) as asker:
        assert await statuses(asker) == {200, 401}


async def test_the_export_of_some_volumes_is_forbidden_every_time() -> None:
    async with under(forbidden=settings.Forbidden(share=0.3)) as asker:
        answers = {volume_id: (await asker.export(volume_id=volume_id)).status for volume_id in VOLUMES}
        assert set(answers.values()) == {202, 403}
        refused = next(each for each, status in answers.items() if status == 403)
        assert (await asker.export(volume_id=refused)).status == 403


async def test_another_call_may_be_the_forbidden_one() -> None:
    async with under(forbidden=settings.Forbidden(share=1, calls=("get_volume",))) as asker:
        assert (await asker.get(f"{V3}/volumes/{VOLUME}")).status == 403
        assert (await asker.get(f"{V3}/volumes/detail")).status == 200
        assert (await asker.export(volume_id=VOLUMES[0])).status == 202


@pytest.mark.parametrize("name", ["throttled", "status-498", "status-497", "x-retry-after"])
async def test_a_throttle_has_many_spellings(name: str) -> None:
    fault = PRESETS[name].throttled
    async with asking(SandboxSettings(weather=PRESETS[name])) as asker:
        assert await statuses(asker, times=60) == {200, fault.status}


async def test_the_time_to_wait_may_be_absurd() -> None:
    async with asking(SandboxSettings(weather=PRESETS["absurd-retry-after"])) as asker:
        answers = [await asker.get(IMAGES) for _ in range(200)]
        waits = {answer.headers["Retry-After"] for answer in answers if answer.status == 429}
        assert {"1000000000", "soon"} <= waits


async def test_a_quota_looks_like_a_throttle() -> None:
    async with under(quota=settings.Quota(share=1)) as asker:
        answer = await asker.export(volume_id=VOLUMES[0])
        assert (answer.status, answer.headers["Retry-After"]) == (413, "0")
        assert answer.json["overLimit"]["message"].startswith("VolumeSizeExceedsAvailableQuota")


async def test_the_identity_service_counts_sign_ins_and_is_away() -> None:
    async with under(identity=settings.Identity(per_second=2, away_from_s=10, away_for_s=5)) as asker:
        asker.clock.at += 1
        answers = [(await asker.sign_in(identity=by_password())).status for _ in range(3)]
        assert answers == [201, 201, 429]
        asker.clock.at += 9
        assert (await asker.sign_in(identity=by_password())).status == 503
        assert (await asker.get("/identity/v3")).status == 503
        asker.clock.at += 5
        assert (await asker.sign_in(identity=by_password())).status == 201


async def test_headers_longer_than_a_client_expects() -> None:
    async with under(long_headers=settings.LongHeaders()) as asker:
        with pytest.raises(aiohttp.ClientResponseError, match="more than 8190 bytes"):
            await asker.get(IMAGES)


async def test_answers_are_compressed_unasked() -> None:
    async with under(gzip=settings.Gzip()) as asker:
        answer = await asker.get(IMAGES, headers={"Accept-Encoding": "identity"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.json["images"] == []


async def test_each_service_has_a_clock_of_its_own() -> None:
    async with under(clocks=settings.Clocks(image_s=-300, volume_s=40, jump_s=60, jump_after_s=100)) as asker:
        await asker.exported(volume_id=VOLUMES[0])

        async def told() -> tuple[float, str]:
            answer = await asker.get(IMAGES)
            date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            return date - asker.clock.at, answer.json["images"][0]["created_at"]

        assert await told() == (-300, "2027-01-15T07:55:00Z")
        assert await listed(asker, f"{IMAGES}?created_at=lte:2027-01-15T07:55:00Z") != []
        assert await listed(asker, f"{IMAGES}?created_at=gte:2027-01-15T07:55:01Z") == []
        answer = await asker.get(f"{V3}/volumes/{VOLUME}")
        assert parsedate_to_datetime(answer.headers["Date"]).timestamp() - START == 40
        asker.clock.at += 100
        assert (await told())[0] == -240


async def test_the_clock_of_records_may_differ_from_that_of_the_answers() -> None:
    async with under(clocks=settings.Clocks(shown_in="records")) as asker:
        await asker.exported(volume_id=VOLUMES[0])
        answer = await asker.get(IMAGES)
        assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == START
        assert answer.json["images"][0]["created_at"] == "2027-01-15T07:55:00Z"


async def test_servers_of_a_cell_that_is_away_are_in_no_list() -> None:
    async with under(cell=settings.Cell(share=1, from_s=5, for_s=10)) as asker:
        assert await listed(asker, f"{SERVERS}/detail", "servers") == [SERVER]
        asker.clock.at += 5
        assert await listed(asker, f"{SERVERS}/detail", "servers") == []
        assert (await asker.get(f"{SERVERS}/{SERVER}")).status == 500
        asker.clock.at += 10
        assert (await asker.get(f"{SERVERS}/{SERVER}")).status == 200


@pytest.mark.parametrize("status", ["queued", "saving"])
async def test_a_dead_export_stays_as_it_is(status: Literal["queued", "saving"]) -> None:
    async with under(stuck=settings.Stuck(share=1, status=status)) as asker:
        image_id = await asker.exported(volume_id=VOLUMES[0])
        asker.clock.at += 1e6
        asker.token = (await asker.sign_in(identity=by_password())).headers["X-Subject-Token"]
        assert (await asker.get(f"{IMAGES}/{image_id}")).json["status"] == status
        assert (await asker.get(f"{V3}/volumes/{VOLUMES[0]}")).json["volume"]["status"] == "uploading"
        await asker.ask("DELETE", f"{IMAGES}/{image_id}")
        assert (await asker.get(f"{V3}/volumes/{VOLUMES[0]}")).json["volume"]["status"] == "uploading"


async def test_an_image_turns_active_long_after_its_volume_is_free() -> None:
    async with under(late=settings.Late(share=1, seconds=100)) as asker:
        image_id = await asker.exported(volume_id=VOLUMES[0])
        asker.clock.at += 60
        assert (await asker.get(f"{V3}/volumes/{VOLUMES[0]}")).json["volume"]["status"] == "available"
        assert (await asker.get(f"{IMAGES}/{image_id}")).json["status"] == "importing"
        asker.clock.at += 100
        assert (await asker.get(f"{IMAGES}/{image_id}")).json["status"] == "active"


async def test_an_image_is_not_found_for_a_while() -> None:
    async with under(vanishing=settings.Vanishing(share=1, seconds=1000)) as asker:
        image_id = await asker.exported(volume_id=VOLUMES[0])
        asker.clock.at += 60
        assert (await asker.get(f"{IMAGES}/{image_id}")).status == 404
        assert await listed(asker) == []
        asker.clock.at += 1000
        assert (await asker.get(f"{IMAGES}/{image_id}")).json["status"] == "active"


@pytest.mark.parametrize("keeps", [0.0, 0.5])
async def test_an_active_image_has_too_few_bytes(keeps: float) -> None:
    async with under(short_image=settings.ShortImage(share=1, keeps=keeps)) as asker:
        image_id = await asker.exported(volume_id=VOLUMES[0], disk_format="raw")
        asker.clock.at += 60
        image = (await asker.get(f"{IMAGES}/{image_id}")).json
        assert image["size"] == image["virtual_size"] * keeps


async def test_another_project_publishes_an_image_of_the_same_name() -> None:
    async with under(foreign_image=settings.ForeignImage(share=1)) as asker:
        image_id = await asker.exported("web", volume_id=VOLUMES[0])
        asker.clock.at += 5
        records = (await asker.get(f"{IMAGES}?name=web")).json["images"]
        assert len(records) == 2
        (foreign,) = (each for each in records if each["id"] != image_id)
        assert foreign["visibility"] == "public"
        owner = next(each["owner"] for each in records if each["id"] == image_id)
        assert foreign["owner"] != owner
        assert await listed(asker, f"{IMAGES}?name=web&owner={owner}") == [image_id]


async def test_two_answers_are_swapped() -> None:
    async with under(swapped=settings.Swapped(share=1, within_s=5)) as asker:
        answers = await asyncio.gather(*(asker.export(volume_id=each) for each in VOLUMES[:2]))
        assert [answer.json[ACTION]["id"] for answer in answers] == VOLUMES[1::-1]


async def test_an_answer_is_that_to_an_earlier_request() -> None:
    async with under(repeated=settings.Repeated(share=1)) as asker:
        first = await asker.export(volume_id=VOLUMES[0])
        second = await asker.export(volume_id=VOLUMES[1])
        assert second.json == first.json
        assert set(asker.sandbox.exports_per_volume) == set(VOLUMES[:2])


@pytest.mark.parametrize(("carried_out", "exports"), [(1.0, 1), (0.0, 0)])
async def test_an_answer_is_lost(carried_out: float, exports: int) -> None:
    async with under(lost=settings.Lost(share=1, carried_out=carried_out)) as asker:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await asker.export(volume_id=VOLUMES[0])
        assert sum(asker.sandbox.exports_per_volume.values()) == exports


async def test_somebody_starts_a_server_that_was_stopped() -> None:
    async with under(starter=settings.Starter(share=1, after_s=5)) as asker:
        await asker.ask("POST", f"{SERVERS}/{SERVER}/action", json={"os-stop": None})
        asker.clock.at += 2
        assert (await asker.get(f"{SERVERS}/{SERVER}")).json["server"]["status"] == "SHUTOFF"
        asker.clock.at += 6
        assert (await asker.get(f"{SERVERS}/{SERVER}")).json["server"]["status"] == "ACTIVE"


async def test_somebody_deletes_an_image() -> None:
    async with under(deleter=settings.Deleter(share=1, after_s=100)) as asker:
        image_id = await asker.exported(volume_id=VOLUMES[0])
        asker.clock.at += 60
        assert (await asker.get(f"{IMAGES}/{image_id}")).json["status"] == "active"
        asker.clock.at += 100
        assert (await asker.get(f"{IMAGES}/{image_id}")).status == 404


async def test_somebody_exports_the_volume_first() -> None:
    async with under(rival=settings.Rival(share=1)) as asker:
        assert (await asker.export("web", volume_id=VOLUMES[0])).status == 400
        assert len(await listed(asker, f"{IMAGES}?name=web")) == 1


async def test_fair_weather_changes_nothing() -> None:
    async with asking(SandboxSettings(weather=PRESETS["fair"])) as asker:
        assert await statuses(asker) == {200}
        assert not [name for name in asker.sandbox.counts if name.startswith("weather")]


async def test_what_struck_is_counted() -> None:
    async with under(flapping_token=settings.FlappingToken(share=1)) as asker:
        await statuses(asker, times=3)
        assert asker.sandbox.counts["weather:flapping_token"] == 3


async def test_the_same_seed_draws_the_same() -> None:
    async def seen(seed: int) -> list[int]:
        async with under(seed=seed, gateway=settings.Gateway(share=0.5)) as asker:
            return [(await asker.get(IMAGES)).status for _ in range(30)]

    assert await seen(1) == await seen(1) != await seen(2)


async def test_under_a_storm_the_services_still_speak() -> None:
    async with asking(SandboxSettings(weather=PRESETS["storm"])) as asker:
        answers = []
        for volume_id in VOLUMES:
            try:
                answers.append((await asker.export(volume_id=volume_id)).status)
            except aiohttp.ClientError:
                answers.append(0)
        assert answers.count(202) > len(VOLUMES) / 2
        assert len([name for name in asker.sandbox.counts if name.startswith("weather:")]) > 3


def test_every_fault_has_a_preset_of_its_own() -> None:
    assert {name.replace("_", "-") for name in FAULTS} < set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_read_by_its_name(name: str) -> None:
    assert read_weather(name) is PRESETS[name]


def test_a_file_begins_with_a_preset_and_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text('base = "storm"\nseed = 5\nstuck = false\ngzip = true\n[lag]\nseconds = 9\n')
    weather = read_weather(str(path))
    assert (weather.seed, weather.stuck, weather.gzip) == (5, None, settings.Gzip())
    assert weather.lag == settings.Lag(seconds=9)
    assert weather.late == PRESETS["storm"].late


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"lagg": {}}, "lagg is not known; allowed: base, seed, lag, "),
        ({"lag": {"second": 1}}, "lag.second is not known; allowed: share, seconds, "),
        ({"lag": {"share": 2}}, r"lag.share: Expected `float` <= 1"),
        ({"lag": {"reads": "some"}}, "lag.reads: .*; allowed: 'all', 'lists', 'by_id'"),
        ({"lag": {"services": ["disk"]}}, "lag.services: .*; allowed: 'volume', 'image', 'compute'"),
        ({"gateway": {"statuses": [200]}}, "gateway.statuses: .*; allowed: 404, 500, 502, 503, 504"),
        ({"lag": 3}, "lag: Expected `object`, got `int`"),
        ({"seed": "x"}, "seed: Expected `int`, got `str`"),
        ({"seed": {"a": 1}}, "seed: Expected `int`, got `object`"),
        ({"base": "hail"}, "base is 'hail'; allowed: fair, lag, "),
    ],
)
def test_a_bad_file_is_told_by_key_and_allowed_values(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        weather_from(document, source="w.toml")


def test_a_weather_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="no weather 'hail', and no file of that name"):
        read_weather("hail")
    with pytest.raises(ConfigError, match="No such file"):
        read_weather("hail.toml")


async def test_the_journal_tells_of_every_request_and_by_whom(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    weather = Weather(rival=settings.Rival(share=1))
    async with asking(SandboxSettings(journal=journal, weather=weather)) as asker:
        await asker.act({ACTION: {"image_name": "web"}}, volume_id=VOLUMES[0], headers=NEWEST)
    lines = journal.read_text().splitlines()
    assert '"made_by":"somebody"' in lines[0]
    assert '"event":"request"' in lines[1]
    assert '"status":400' in lines[1]


async def test_the_weather_is_the_same_for_the_other_family_of_clouds() -> None:
    weather = Weather(
        lag=settings.Lag(share=1, seconds=3, reads="lists"),
        clocks=settings.Clocks(),
        short_image=settings.ShortImage(share=1, keeps=0.5),
    )
    told = SandboxSettings(profile=Profile.EVS, weather=weather)
    async with asking(told) as asker:
        body = {ACTION: {"image_name": "web"}}
        answer = await asker.act(body, volume_id=VOLUMES[0], api=f"/evs/v2/{PROJECT_ID}")
        image_id = answer.json[ACTION]["image_id"]
        assert await listed(asker, "/ims/v2/images") == []
        asker.clock.at += 60
        (image,) = (await asker.get("/ims/v2/images")).json["images"]
        assert image["id"] == image_id
        assert int(image["__image_size"]) == image["min_disk"] * 2**30 // 2
        assert image["created_at"] == "2027-01-15T07:55:00Z"

"""Volumes in use are exported by way of copies, and no copy of ours is left behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import CopyLimits, InUse, Limits, Settings
from batchexport.dialect import EVS
from batchexport.engine.decide import SIZE_UNVERIFIED
from batchexport.engine.steps.copy_marks import CopyName, is_ours, job_of, kind_of
from batchexport.host_command import CommandResult, HostCommand
from batchexport.model import ResourceType
from batchexport.quiesce import QuiesceCommands, Quiesced, QuiescedServer
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_copies import CopyCloud
from tests.engine.fast_time import let_pass
from tests.engine.test_random_schedules import until_crash

IDS = volume_ids(4)
RUN = "20270115-aaaaaa"


def settings(limits: dict[str, Any] | None = None, **copies: Any) -> Settings:
    return Settings(
        in_use=InUse.SNAPSHOT,
        limits=Limits(**{"poll_interval_s": 5.0, **(limits or {})}),
        copies=CopyLimits(**copies),
    )


def alone(count: int = 4) -> dict[str, str]:
    """Each volume on a server of its own."""
    return {volume_id: f"server-{volume_id[:8]}" for volume_id in IDS[:count]}


def check(bench: Bench, cloud: CopyCloud, *, succeeded: int) -> None:
    """Every row has its one image, and nothing of ours is left."""
    assert list(bench.states().values()) == ["succeeded"] * succeeded
    for volume_id, job in bench.jobs().items():
        assert cloud.good_images_of(volume_id) == [job.image_id]
    assert cloud.left() == []
    with bench.reader() as reader:
        assert reader.overview().resources == []


def test_a_volume_in_use_is_exported_by_way_of_a_clone(bench: Bench) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone())
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)
    assert cloud.calls["create_snapshot"] == 0
    assert (cloud.calls["create_volume"], cloud.calls["delete_volume"]) == (4, 4)
    reasons = {job.reason for job in bench.jobs().values()}
    made_of = "crash-consistent: made from a clone of the volume while it was in use"
    assert reasons == {f"{SIZE_UNVERIFIED}; {made_of}"}


def test_where_clones_are_refused_snapshots_are_made_of_the_volume(bench: Bench) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone(), clones=False)
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)
    assert cloud.calls["create_snapshot"] == 4
    assert "snapshot" in (bench.jobs()[IDS[0]].reason or "")


def test_evs_is_never_asked_for_a_clone(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1))
    cloud.dialect = EVS
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=1)
    assert cloud.calls["create_snapshot"] == 1


def test_volumes_of_one_server_are_snapshotted_in_one_burst(bench: Bench) -> None:
    bench.load(IDS)
    cloud = CopyCloud(dict.fromkeys(IDS, "one"))
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)
    assert [what for what, name in cloud.requests[:4] if kind_of(name) == "snapshot"] == ["create"] * 4
    assert "4 volumes of its server within 0.0 s" in (bench.jobs()[IDS[0]].reason or "")


def test_a_snapshot_is_deleted_after_its_volume(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1), clones=False)
    bench.run(cloud, settings=settings())
    deleted = [kind_of(name) for what, name in cloud.requests if what == "delete"]
    assert deleted == ["volume", "snapshot"]


def test_volumes_that_are_not_in_use_are_exported_as_they_are(bench: Bench) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone(1))
    cloud.statuses |= dict.fromkeys(IDS[1:], "available")
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)
    assert cloud.calls["create_volume"] == 1


def test_a_volume_that_is_attached_after_the_last_look_is_copied(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1))
    bench.run(cloud, settings=Settings(in_use=InUse.SNAPSHOT, preflight=False, limits=Limits()))
    check(bench, cloud, succeeded=1)


def test_no_more_copies_than_allowed_are_there_at_once(bench: Bench) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone())
    bench.run(cloud, settings=settings(max_temporary=2))
    check(bench, cloud, succeeded=4)
    assert cloud.most_things == 2


def test_a_bound_of_gib_holds_too(bench: Bench) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone())
    bench.run(cloud, settings=settings(max_temporary_gib=25))  # each has 10
    check(bench, cloud, succeeded=4)
    assert cloud.most_things == 2


@pytest.mark.parametrize("clones", [True, False])
@pytest.mark.parametrize("quota", [1, 2])
def test_a_quota_that_copies_of_ours_use_up_waits_for_their_release(
    bench: Bench, quota: int, clones: bool
) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone(), quota=quota, clones=clones)
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)


def test_a_quota_that_others_use_up_fails_the_row(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1), quota=0)
    bench.run(cloud, settings=settings())
    assert bench.states() == {IDS[0]: "failed"}
    assert "Maximum number of volumes" in (bench.jobs()[IDS[0]].reason or "")
    assert cloud.left() == []


@pytest.mark.parametrize("fault", ["after", "before", "late", "twice", "unavailable"])
@pytest.mark.parametrize("clones", [True, False])
def test_a_lost_answer_leaves_nothing_behind(bench: Bench, fault: str, clones: bool) -> None:
    bench.load(IDS[:2])
    cloud = CopyCloud(alone(2), lost=[fault] * 5, clones=clones)
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=2)


COPIES = [("volume", True), ("volume", False), ("snapshot", False)]


@pytest.mark.parametrize(("kind", "clones"), COPIES)
def test_a_copy_that_always_ends_in_an_error_fails_its_row_and_is_deleted(
    bench: Bench, kind: str, clones: bool
) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1), clones=clones)
    cloud.fails_to_make = {kind: 100}
    bench.run(cloud, settings=settings({"retries": 2}))
    assert bench.states() == {IDS[0]: "failed"}
    assert "is error (attempt 3 of 3)" in (bench.jobs()[IDS[0]].reason or "")
    assert cloud.calls[f"create_{kind}"] == 3
    assert cloud.left() == []


@pytest.mark.parametrize(("kind", "clones"), COPIES)
def test_a_copy_that_ends_in_an_error_is_made_anew(bench: Bench, kind: str, clones: bool) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone(), clones=clones)
    cloud.fails_to_make = {kind: 3}
    bench.run(cloud, settings=settings({"retries": 3}))
    check(bench, cloud, succeeded=4)
    assert cloud.calls[f"create_{kind}"] == 7


@pytest.mark.parametrize(
    ("clones", "words"), [(True, "from a clone"), (False, "made later than others of its server")]
)
def test_a_copy_that_was_made_anew_is_not_said_to_be_of_the_moment_of_the_others(
    bench: Bench, clones: bool, words: str
) -> None:
    bench.load(IDS)
    cloud = CopyCloud(dict.fromkeys(IDS, "one"), clones=clones)
    cloud.fails_to_make = {"volume": 1}
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)
    reasons = [job.reason or "" for job in bench.jobs().values()]
    assert [words in each for each in reasons].count(True) == 1
    assert ["4 volumes of its server" in each for each in reasons].count(True) == 3


def test_a_snapshot_that_ends_in_an_error_is_made_anew_with_those_of_its_server_that_still_wait(
    bench: Bench,
) -> None:
    bench.load(IDS)
    cloud = CopyCloud(dict.fromkeys(IDS, "one"))
    cloud.fails_to_make = {"snapshot": 1}
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)
    assert all("4 volumes of its server" in (job.reason or "") for job in bench.jobs().values())


@pytest.mark.parametrize("after", [4, 5, 6, 8, 9, 10, 12])
def test_how_far_apart_snapshots_were_is_told_after_a_crash_too(
    bench: Bench, tmp_path: Path, after: int
) -> None:
    bench.load(IDS)
    cloud = CopyCloud(dict.fromkeys(IDS, "one"), max_apart_s=3.0)
    snapshot = tmp_path / "after.state"
    slow = settings({"max_exports": 1})
    assert until_crash(bench, cloud, snapshot, settings=slow, crash_after=after, full_after=0)
    let_pass(31.0)
    resumed = Bench(snapshot)
    resumed.run(cloud, settings=settings())
    check(resumed, cloud, succeeded=4)
    reasons = {(job.reason or "").partition("in use")[2] for job in resumed.jobs().values()}
    assert reasons == {", 4 volumes of its server within 3.0 s"}


@pytest.mark.parametrize("status", ["error_deleting", "in-use"])
def test_a_copy_that_cannot_be_deleted_is_named_and_kept(
    bench: Bench, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1))

    def spoil(changes: list[Any]) -> bool:
        if str(changes[-1][2]) == "succeeded":
            (thing,) = cloud.things.values()
            thing["status"] = status
        return False

    bench.run(cloud, settings=settings(), stop_when=spoil)
    assert bench.states() == {IDS[0]: "succeeded"}
    assert len(cloud.left()) == 1
    assert cloud.removed == []
    with bench.reader() as reader:
        (left,) = reader.overview().resources
    assert left.note == f"cannot be deleted: it is {status}"
    assert left.cloud_id in cloud.left()
    assert "it is left as it is" in caplog.text


@pytest.mark.parametrize("interval_s", [5.0, None])
@pytest.mark.parametrize(("kind", "clones"), COPIES)
def test_a_copy_that_only_lists_lack_is_not_gone(
    bench: Bench, kind: str, clones: bool, interval_s: float | None
) -> None:
    """Its deletion was accepted and failed, and lists are capped, or lag."""
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1), clones=clones)

    def fail_to_delete(what: str, of: str, name: str) -> None:
        if (what, of) == ("delete", kind):
            (cloud_id,) = (each for each, thing in cloud.things.items() if thing["name"] == name)
            cloud.unlisted.add(cloud_id)
            cloud.lost = ["busy"]
            cloud.after_order = lambda: cloud.things[cloud_id].update(status="error_deleting")

    cloud.before_change = fail_to_delete
    bench.run(cloud, settings=settings({"poll_interval_s": interval_s}))
    assert bench.states() == {IDS[0]: "succeeded"}
    with bench.reader() as reader:
        left = {each.cloud_id for each in reader.overview().resources}
    assert cloud.unlisted
    assert cloud.unlisted <= left


def test_what_is_not_proved_ours_is_never_deleted(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1))
    name = str(CopyName(kind=ResourceType.VOLUME, run_id=RUN, job_id=1, attempt=1, token="abcdef"))
    strangers = [
        cloud.add("volume", name, {}),
        cloud.add("volume", "web", {"batchexport_run": RUN, "batchexport_name": "web"}),
        cloud.add("volume", name, {"batchexport_run": "another", "batchexport_name": name}),
        cloud.add("snapshot", name.replace("volume", "snapshot"), {"batchexport_run": RUN}),
    ]
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=1)
    assert not set(strangers) & set(cloud.removed)


@pytest.mark.parametrize("clones", [True, False])
def test_an_answer_that_names_what_is_somebody_elses_endangers_nothing(bench: Bench, clones: bool) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1), clones=clones)
    strangers = {kind: cloud.add(kind, "web", {}) for kind in ("volume", "snapshot")}
    cloud.answers_with = strangers
    bench.run(cloud, settings=settings())
    assert cloud.removed != []
    assert not set(strangers.values()) & set(cloud.removed)
    assert cloud.left() == []
    assert not any(record["volume_id"] in strangers.values() for record in cloud.records.values())
    assert bench.states() == {IDS[0]: "failed"}
    with bench.reader() as reader:
        assert {each.cloud_id for each in reader.overview().resources} <= set(strangers.values())


def test_an_export_under_way_keeps_its_copy_when_the_run_is_stopped(bench: Bench) -> None:
    bench.load(IDS)
    cloud = CopyCloud(alone(), upload_s=200.0)
    bench.run(cloud, settings=settings(max_temporary=2), stop_when=lambda changes: len(changes) == 4)
    assert cloud.left() == []
    states = sorted(bench.states().values())
    assert states == ["pending", "pending", "succeeded", "succeeded"]
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=4)


def test_a_run_that_does_not_wait_leaves_the_copies_of_its_exports(tmp_path: Path, bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1), upload_s=500.0)
    quick = Settings(in_use=InUse.SNAPSHOT, wait=False, limits=Limits(poll_interval_s=5.0))
    bench.run(cloud, settings=quick)
    assert bench.states() == {IDS[0]: "exporting"}
    assert len(cloud.left()) == 1
    bench.run(cloud, settings=settings())
    check(bench, cloud, succeeded=1)


def test_a_copy_that_somebody_deletes_fails_the_row_that_waits_for_it(bench: Bench) -> None:
    bench.load(IDS[:1])
    cloud = CopyCloud(alone(1), clones=False)

    def delete_snapshots(what: str, kind: str, name: str) -> None:
        for thing in cloud.things.values():
            if (what, kind, thing["kind"]) == ("create", "volume", "snapshot"):
                thing["gone_at"] = cloud.server_now_s()

    cloud.before_change = delete_snapshots
    cloud.lost = ["before", "none"]
    bench.run(cloud, settings=settings())
    assert bench.states() == {IDS[0]: "failed"}
    assert "copy of its volume" in (bench.jobs()[IDS[0]].reason or "")
    assert cloud.left() == []


@pytest.mark.parametrize("is_good", [True, False])
def test_snapshots_are_made_between_the_commands_that_hold_their_server(
    bench: Bench, is_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = CopyCloud(dict.fromkeys(IDS, "one"))
    command = HostCommand(arguments=("true",))
    seen: list[tuple[str, int]] = []

    @asynccontextmanager
    async def held(commands: QuiesceCommands, server: QuiescedServer) -> AsyncIterator[Quiesced]:
        result = Quiesced()
        result.before = CommandResult(command=command, exit_code=0 if is_good else 1, output="no lock")
        assert (server.server_id, server.volume_ids) == ("one", IDS)
        seen.append(("before", len(cloud.left())))
        yield result
        assert all(cloud.status_of(each) == "available" for each in cloud.left())
        seen.append(("after", len(cloud.left())))

    monkeypatch.setattr("batchexport.engine.steps.copy_burst.quiesced", held)
    bench.load(IDS)
    bench.run(cloud, settings=replace(settings(), quiesce=QuiesceCommands(before=command)))
    if is_good:
        check(bench, cloud, succeeded=4)
        assert seen == [("before", 0), ("after", 4)]
        assert "held by commands of yours" in (bench.jobs()[IDS[0]].reason or "")
    else:
        assert set(bench.states().values()) == {"failed"}
        assert "no lock" in (bench.jobs()[IDS[0]].reason or "")
        assert cloud.requests == []


def test_a_name_tells_whose_a_copy_is() -> None:
    name = CopyName(kind=ResourceType.SNAPSHOT, run_id=RUN, job_id=1_234_567, attempt=12, token="abcdef")
    assert len(str(name)) <= 64
    assert not str(name).startswith("autobk_snapshot_")
    assert (job_of(str(name)), kind_of(str(name))) == (1_234_567, "snapshot")
    assert is_ours(str(name), name.metadata, "batchexport-snapshot-", RUN)
    assert not is_ours(str(name), {}, "batchexport-snapshot-", RUN)
    assert not is_ours("web", name.metadata, "batchexport-snapshot-", RUN)

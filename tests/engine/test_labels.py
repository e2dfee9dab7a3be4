"""Properties and tags of images: looked at, set, looked at again; a row ends once its image has them."""

from collections.abc import Sequence
from typing import Any

import pytest

from batchexport.config import InUse, Limits, Settings
from batchexport.dialect import EVS
from batchexport.engine.label import NOT_LABELLED
from batchexport.errors import (
    AuthenticationError,
    ForbiddenError,
    NotFoundError,
    StateError,
    TransientError,
)
from batchexport.image_labels import LINE, RUN, VOLUME_ID, LabelledImage, Labels
from batchexport.model import ImageOptions, JobState
from batchexport.store import stores
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fake_servers import ServedCloud

WANTED = ImageOptions(properties=(("team", "storage"),), tags=("nightly",))


def settings(image: ImageOptions = WANTED, **limits: Any) -> Settings:
    return Settings(image=image, limits=Limits(**{"poll_interval_s": 5.0, **limits}))


def labels_of(cloud: FakeCloud) -> list[Labels]:
    return [record.get("labels") or Labels() for record in cloud.records.values()]


def test_a_run_that_asks_for_no_labels_sends_no_request_for_them(bench: Bench) -> None:
    cloud = FakeCloud()
    bench.load(volume_ids(5))
    bench.run(cloud)
    assert not {"set_labels", "labelled"} & cloud.calls.keys()


def test_every_image_gets_its_labels_in_one_request_and_looks_are_shared(bench: Bench) -> None:
    cloud = FakeCloud()
    bench.load(volume_ids(40))
    bench.run(cloud, settings=settings())
    assert set(bench.states().values()) == {JobState.SUCCEEDED}
    assert cloud.calls["set_labels"] == 40
    assert cloud.calls["labelled"] <= 4
    jobs = bench.jobs()
    for record in cloud.records.values():
        job, labels = jobs[record["volume_id"]], record["labels"]
        assert (job.reason or "").startswith("active") and job.code is None
        assert labels.properties == {
            "team": "storage",
            VOLUME_ID: job.volume_id,
            RUN: "20270115-aaaaaa",
            LINE: str(job.line),
        }
        assert labels.tags == ("nightly",)


def test_a_row_that_waits_for_its_labels_keeps_no_other_from_starting(bench: Bench) -> None:
    cloud = FakeCloud()
    cloud.label_faults = [TransientError("busy", status=503)] * 6
    bench.load(volume_ids(2))
    began: list[float] = []
    bench.run(
        cloud,
        settings=settings(max_exports=1),
        on_change=lambda job, before, after: began.append(len(labels_of(cloud))),
    )
    assert set(bench.states().values()) == {JobState.SUCCEEDED}
    assert cloud.most_in_progress <= 2  # the copy of the first is over before its labels are there
    assert all(labels.tags for labels in labels_of(cloud))


def test_the_rows_own_labels_go_over_those_of_the_run(bench: Bench) -> None:
    cloud = FakeCloud()
    own = ImageOptions(properties=(("team", "database"), ("tier", "gold")), tags=("weekly",))
    bench.load(volume_ids(1), options=own)
    bench.run(cloud, settings=settings())
    (labels,) = labels_of(cloud)
    assert (labels.properties["team"], labels.properties["tier"]) == ("database", "gold")
    assert set(labels.tags) == {"nightly", "weekly"}


@pytest.mark.parametrize(
    ("image", "keys"),
    [
        (ImageOptions(provenance=True), {VOLUME_ID, RUN, LINE}),
        (ImageOptions(properties=(("a", "b"),), provenance=False), {"a"}),
        (ImageOptions(tags=("a",), provenance=False), set()),
    ],
)
def test_what_an_image_was_made_of_is_said_where_a_request_is_sent_anyway(
    bench: Bench, image: ImageOptions, keys: set[str]
) -> None:
    cloud = FakeCloud()
    bench.load(volume_ids(1))
    bench.run(cloud, settings=settings(image))
    (labels,) = labels_of(cloud)
    assert labels.properties.keys() == keys


@pytest.mark.parametrize("fault", ["lost", "no answer", TransientError("busy", status=503)], ids=str)
def test_what_is_not_seen_is_set_again(bench: Bench, fault: Exception | str) -> None:
    """A change while the image is being written is answered with 200, and lost."""
    cloud = FakeCloud()
    cloud.label_faults = [fault]
    bench.load(volume_ids(1))
    bench.run(cloud, settings=settings())
    (job,) = bench.jobs().values()
    assert (job.state, job.code) == (JobState.SUCCEEDED, None)
    (labels,) = labels_of(cloud)
    assert labels.tags == ("nightly",)
    assert cloud.calls["set_labels"] == (1 if fault == "no answer" else 2)


def test_tags_of_others_stay(bench: Bench) -> None:
    cloud = FakeCloud()
    bench.load(volume_ids(1))

    def tag(job: Any, before: Any, after: JobState) -> None:
        if after is JobState.EXPORTING:
            for record in cloud.records.values():
                record["labels"] = Labels(properties={"theirs": "1", "team": "other"}, tags=("theirs",))

    bench.run(cloud, settings=settings(), on_change=tag)
    (labels,) = labels_of(cloud)
    assert set(labels.tags) == {"theirs", "nightly"}
    assert (labels.properties["theirs"], labels.properties["team"]) == ("1", "storage")


def test_a_refusal_ends_the_row_with_its_image_and_says_so(bench: Bench) -> None:
    cloud = FakeCloud()
    cloud.label_faults = [ForbiddenError("property team is protected", method="PATCH", status=403)]
    bench.load(volume_ids(2))
    bench.run(cloud, settings=settings())
    jobs = list(bench.jobs().values())
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert sorted(job.code or "" for job in jobs) == ["", NOT_LABELLED]
    (left,) = [job for job in jobs if job.code]
    assert "properties and tags are not set" in (left.reason or "")
    assert "property team is protected" in (left.reason or "")


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("no image found", method="PATCH", status=404),
        TransientError("busy", status=503),
        AuthenticationError("refused", status=401),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_for_a_while_and_then_said(bench: Bench, error: Exception) -> None:
    cloud = FakeCloud()
    cloud.label_faults = [error] * 1000
    bench.load(volume_ids(1))
    bench.run(cloud, settings=settings())
    (job,) = bench.jobs().values()
    assert (job.state, job.code) == (JobState.SUCCEEDED, NOT_LABELLED)
    assert 3 < cloud.calls["set_labels"] < 30


def test_labels_that_never_show_end_the_row_too(bench: Bench) -> None:
    cloud = FakeCloud()
    cloud.label_faults = ["lost"] * 1000
    bench.load(volume_ids(1))
    bench.run(cloud, settings=settings())
    (job,) = bench.jobs().values()
    assert (job.state, job.code) == (JobState.SUCCEEDED, NOT_LABELLED)
    assert "does not show them" in (job.reason or "")


def test_looks_that_fail_are_repeated(bench: Bench) -> None:
    class Blind(FakeCloud):
        async def labelled(self, image_ids: Any) -> Any:
            if self.calls["labelled"] < 3:
                self.calls["labelled"] += 1
                raise TransientError("bad gateway", status=502)
            return await super().labelled(image_ids)

    cloud = Blind()
    bench.load(volume_ids(1))
    bench.run(cloud, settings=settings())
    (labels,) = labels_of(cloud)
    assert labels.tags == ("nightly",)


def test_the_next_process_sets_what_the_last_one_did_not(bench: Bench) -> None:
    """The row stays exporting until its image has its labels: whatever ends the run, nothing is forgotten."""
    cloud = FakeCloud()
    cloud.label_faults = [TransientError("busy", status=503)] * 1000
    bench.load(volume_ids(3))
    bench.run(cloud, settings=settings(), stop=60.0)
    assert set(bench.states().values()) == {JobState.EXPORTING}
    cloud.label_faults = []
    bench.run(cloud, settings=settings())
    assert set(bench.states().values()) == {JobState.SUCCEEDED}
    assert all(labels.tags == ("nightly",) for labels in labels_of(cloud))
    assert cloud.calls["post"] == 3


def test_a_cloud_without_tags_gets_the_properties_alone(bench: Bench) -> None:
    cloud = FakeCloud()
    cloud.dialect = EVS
    bench.load(volume_ids(1))
    bench.run(cloud, settings=settings())
    (labels,) = labels_of(cloud)
    assert labels.tags == ()
    assert labels.properties["team"] == "storage"


class DeletedOnce(FakeCloud):
    """The first images that wait for labels are deleted by somebody."""

    is_over = False

    async def labelled(self, image_ids: Sequence[str]) -> dict[str, LabelledImage]:
        if self.calls["set_labels"] and not self.is_over:
            self.is_over = True
            for image_id in image_ids:
                del self.records[image_id]
        return await super().labelled(image_ids)


def test_an_image_that_goes_while_it_waits_is_exported_again(bench: Bench) -> None:
    cloud = DeletedOnce()
    bench.load(volume_ids(1))
    bench.run(cloud, settings=settings())
    (job,) = bench.jobs().values()
    assert job.state is JobState.SUCCEEDED
    assert len(cloud.posts) == 2
    (labels,) = labels_of(cloud)
    assert labels.tags == ("nightly",)


@pytest.mark.parametrize("faults", [[], [TransientError("busy", status=503)] * 1000], ids=["good", "away"])
def test_a_server_does_not_stay_down_for_labels(bench: Bench, faults: list[Exception | str]) -> None:
    ids = volume_ids(2)
    cloud = ServedCloud({ids[0]: ["a"]})
    cloud.label_faults = faults
    bench.load(ids[:1])
    stopping = Settings(in_use=InUse.STOP, image=WANTED, limits=Limits(poll_interval_s=5.0))
    bench.run(cloud, settings=stopping)
    (job,) = bench.jobs().values()
    assert (job.state, job.code) == (JobState.SUCCEEDED, NOT_LABELLED if faults else None)
    assert cloud.orders == [("stop", "a"), ("start", "a")]
    assert cloud.running() == {"a"}
    assert cloud.calls["set_labels"] <= 10


@pytest.mark.parametrize("state", ["unreadable"])
def test_where_the_store_cannot_be_read_the_volume_is_said_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    def read(path: object) -> None:
        raise StateError(f"{path}: {state}")

    cloud = FakeCloud()
    bench.load(volume_ids(1))
    monkeypatch.setattr(stores, "read", read)
    bench.run(cloud, settings=settings())
    (labels,) = labels_of(cloud)
    assert labels.properties.keys() == {"team", VOLUME_ID, RUN}

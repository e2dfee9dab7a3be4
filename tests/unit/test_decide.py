"""The engine's decisions, each as a table: what was seen, what follows."""

from typing import Any

import pytest
from msgspec import Struct

from batchexport.config import InUse
from batchexport.engine import decide
from batchexport.errors import VolumeStateError
from batchexport.model import Image, ImageDetails, ImageOptions, Job, Volume

REFUSED = VolumeStateError("status must be available", status=400, code="badRequest", request_id="req-1")


def image(
    status: str = "active", *, image_id: str = "i-1", name: str = "db", created_at: float | None = 100.0
) -> Image:
    return Image(image_id=image_id, name=name, status=status, created_at=created_at)


def settle(
    images: tuple[Any, ...] | list[Image] = (),
    *,
    proved: bool = True,
    uploading: bool = False,
    missing: bool = False,
    clear_for_s: float | None = None,
    overdue: bool = False,
) -> Struct:
    return decide.settle(
        images,
        proved=proved,
        uploading=uploading,
        missing=missing,
        clear_for_s=clear_for_s,
        settle_s=30.0,
        overdue=overdue,
    )


@pytest.mark.parametrize("status", ["queued", "saving", "active", "killed", "a word of next year"])
@pytest.mark.parametrize("uploading", [True, False])
def test_one_image_of_ours_is_adopted_whatever_its_status(status: str, uploading: bool) -> None:
    assert settle([image(status)], uploading=uploading) == decide.Adopt(image(status))


def test_several_images_are_left_to_a_person_with_all_their_ids() -> None:
    verdict = settle([image(), image(image_id="i-2")], clear_for_s=900.0)
    assert isinstance(verdict, decide.Ambiguous)
    assert "i-1" in verdict.ending.reason
    assert "i-2" in verdict.ending.reason


@pytest.mark.parametrize(
    ("uploading", "clear_for_s", "expected"),
    [
        (True, None, decide.Wait),
        (True, 900.0, decide.Wait),
        (False, None, decide.Wait),
        (False, 0.0, decide.Wait),
        (False, 29.9, decide.Wait),
        (False, 30.0, decide.Retry),
    ],
)
def test_a_request_is_lost_only_when_its_volume_stayed_free_for_the_settling_time(
    uploading: bool, clear_for_s: float | None, expected: type[Any]
) -> None:
    assert isinstance(settle(uploading=uploading, clear_for_s=clear_for_s), expected)


def test_a_volume_that_stays_uploading_without_an_image_ends_with_the_way_out() -> None:
    assert isinstance(settle(uploading=True), decide.Wait)
    verdict = settle(uploading=True, overdue=True)
    assert isinstance(verdict, decide.Fail)
    assert "volume set --state available" in verdict.ending.reason


def test_a_volume_that_is_free_is_not_stuck_however_late_it_is() -> None:
    assert isinstance(settle(overdue=True, clear_for_s=0.0), decide.Wait)
    assert isinstance(settle(overdue=True, clear_for_s=30.0), decide.Retry)


def test_an_image_that_may_be_somebody_elses_is_left_to_a_person() -> None:
    verdict = settle([image()], proved=False, clear_for_s=900.0)
    assert isinstance(verdict, decide.Ambiguous)
    assert "i-1" in verdict.ending.reason


@pytest.mark.parametrize(
    ("clear_for_s", "expected"), [(None, decide.Wait), (0.0, decide.Wait), (30.0, decide.Fail)]
)
def test_a_volume_that_is_missing_fails_only_when_it_stayed_missing(
    clear_for_s: float | None, expected: type[Any]
) -> None:
    verdict = settle(missing=True, clear_for_s=clear_for_s)
    assert isinstance(verdict, expected)
    assert getattr(getattr(verdict, "ending", None), "status", None) == (404 if clear_for_s else None)


def test_a_volume_that_is_gone_with_its_image_there_is_adopted() -> None:
    assert settle([image()], missing=True) == decide.Adopt(image())


@pytest.mark.parametrize(
    ("found", "is_ours"),
    [
        (image(), True),
        (image(created_at=None), True),
        (image(created_at=0.0), True),  # clocks differ: no time tells whose it is
        (image(name="db2"), False),
        (image(name="DB"), False),
        (image(image_id="known-before"), False),
    ],
)
def test_only_an_image_of_the_name_that_is_not_known_otherwise_is_a_candidate(
    found: Image, is_ours: bool
) -> None:
    job = Job(job_id=1, volume_id="v", image_name="db", options=ImageOptions(), first_intent_at=100.0)
    ours = decide.candidates([found], {job.image_name}, not_ours={"known-before"})
    assert ours == ([found] if is_ours else [])


@pytest.mark.parametrize(
    ("attempt", "intent_at", "expected"), [(1, 100.0, False), (1, 101.0, True), (2, 100.0, True)]
)
def test_a_request_may_have_been_sent_once_there_was_an_earlier_intent(
    attempt: int, intent_at: float, expected: bool
) -> None:
    job = Job(
        job_id=1,
        volume_id="v",
        image_name="db",
        options=ImageOptions(),
        attempt=attempt,
        first_intent_at=100.0,
        intent_at=intent_at,
    )
    assert decide.may_have_been_sent(job) is expected


def reconcile(
    images: list[Image] | tuple[Any, ...] = (),
    *,
    proved: bool = True,
    uploading: bool = False,
    clear_for_s: float | None = None,
) -> object:
    return decide.reconcile(
        images, proved=proved, uploading=uploading, clear_for_s=clear_for_s, settle_s=30.0
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"images": [image()]}, decide.Adopt),
        ({"images": [image()], "uploading": True}, decide.Adopt),
        ({"images": [image(), image("killed", image_id="i-2")]}, decide.Adopt),
        ({"images": [image()], "proved": False, "clear_for_s": 900.0}, decide.Ambiguous),
        ({"images": [image(), image(image_id="i-2")], "clear_for_s": 900.0}, decide.Ambiguous),
        ({"uploading": True, "clear_for_s": 900.0}, decide.Ambiguous),  # its image may only not show yet
        ({"clear_for_s": None}, decide.Ambiguous),
        ({"clear_for_s": 29.9}, decide.Ambiguous),
        ({"clear_for_s": 30.0}, decide.Retry),
        ({"images": [image("deleted")], "clear_for_s": 30.0}, decide.Retry),
    ],
)
def test_an_ambiguous_row_is_sent_again_only_when_surely_nothing_is_left(
    given: dict[str, Any], expected: type[Any]
) -> None:
    assert isinstance(reconcile(**given), expected)


@pytest.mark.parametrize(("uploading", "words"), [(True, "is uploading"), (False, "not for long enough")])
def test_a_row_that_stays_ambiguous_says_what_is_waited_for(uploading: bool, words: str) -> None:
    verdict = reconcile(uploading=uploading, clear_for_s=1.0)
    assert isinstance(verdict, decide.Ambiguous)
    assert words in verdict.ending.reason


@pytest.mark.parametrize(
    ("status", "in_use", "forced", "expected", "words"),
    [
        ("uploading", InUse.FAIL, False, decide.InDoubt, ""),
        ("available", InUse.FAIL, False, decide.InDoubt, ""),
        ("detaching", InUse.FAIL, False, decide.Retry, "detaching"),
        ("in-use", InUse.FAIL, False, decide.Fail, "--in-use"),
        ("in-use", InUse.SKIP, False, decide.Skip, "attached"),
        ("in-use", InUse.FORCE, True, decide.Fail, "does not honour force"),
        ("in-use", InUse.STOP, False, decide.Hold, ""),
        ("in-use", InUse.STOP, True, decide.Fail, "does not honour force"),
        ("error", InUse.FAIL, False, decide.Fail, "error"),
    ],
)
def test_a_refusal_for_the_volume_status_is_answered_by_what_the_volume_is(
    status: str, in_use: InUse, forced: bool, expected: type[Any], words: str
) -> None:
    seen = decide.refused_for_status(
        REFUSED, Volume(volume_id="v", status=status), in_use=in_use, forced=forced
    )
    assert isinstance(seen, expected)
    assert words in str(getattr(seen, "ending", ""))


def test_a_refusal_keeps_the_words_and_the_request_id_of_the_cloud() -> None:
    seen = decide.refused_for_status(
        REFUSED, Volume(volume_id="v", status="error"), in_use=InUse.FAIL, forced=False
    )
    assert isinstance(seen, decide.Fail)
    assert "status must be available" in seen.ending.reason
    assert (seen.ending.status, seen.ending.request_id) == (400, "req-1")


def test_a_volume_that_was_refused_for_its_status_and_is_not_found_is_in_doubt() -> None:
    assert isinstance(
        decide.refused_for_status(REFUSED, None, in_use=InUse.FAIL, forced=False), decide.InDoubt
    )


@pytest.mark.parametrize(
    ("found", "unchanged_s", "overdue", "expected", "code"),
    [
        (None, 0.0, True, decide.Wait, None),
        (None, 69.9, True, decide.Wait, None),
        (None, 70.0, False, decide.Retry, "image_gone"),
        (image("active"), 0.0, False, decide.Succeed, None),
        (image("deactivated"), 0.0, False, decide.Succeed, "deactivated"),
        (image("killed"), 0.0, False, decide.Retry, "image_dead"),
        (image("deleted"), 0.0, False, decide.Retry, "image_dead"),
        (image("pending_delete"), 0.0, False, decide.Retry, "image_dead"),
        (image("queued"), 0.0, True, decide.Wait, None),
        (image("queued"), 349.9, True, decide.Wait, None),
        (image("queued"), 350.0, False, decide.Retry, "image_orphaned"),
        (image("saving"), 350.0, False, decide.Wait, None),
        (image("importing"), 1e6, False, decide.Wait, None),
        (image("saving"), 349.9, True, decide.Wait, None),
        (image("importing"), 350.0, True, decide.Retry, "image_orphaned"),
        (image("a word of next year"), 350.0, True, decide.Retry, "image_orphaned"),
    ],
)
def test_an_export_whose_volume_is_free_is_judged_by_its_image(
    found: Image | None, unchanged_s: Any, overdue: bool, expected: type[Any], code: str | None
) -> None:
    verdict = decide.verdict(found, unchanged_s=unchanged_s, size_gib=10, overdue=overdue)
    assert isinstance(verdict, expected)
    assert getattr(getattr(verdict, "ending", None), "code", None) == code


@pytest.mark.parametrize(
    ("size_gib", "absent_s", "orphan_s"),
    [(1, 61.0, 305.0), (100, 160.0, 800.0), (2000, 600.0, 10_300.0), (None, 600.0, 5420.0)],
)
def test_the_more_is_at_stake_the_longer_an_image_is_waited_for(
    size_gib: int | None, absent_s: float, orphan_s: float
) -> None:
    assert (decide.absent_after_s(size_gib), decide.orphan_after_s(size_gib)) == (absent_s, orphan_s)


@pytest.mark.parametrize(
    ("size_gib", "timeout_s", "expected_s"),
    [(1, None, 3600.0), (20, None, 3600.0), (100, None, 10800.0), (None, None, 93960.0), (500, 60.0, 60.0)],
)
def test_the_deadline_follows_the_size_unless_the_row_says_it(
    size_gib: int, timeout_s: float | None, expected_s: float
) -> None:
    assert decide.deadline_s(size_gib, timeout_s) == expected_s


@pytest.mark.parametrize(("age_s", "expected_s"), [(0.0, 5.0), (100.0, 5.0), (400.0, 20.0), (90000.0, 60.0)])
def test_old_exports_are_looked_at_less_often(age_s: float, expected_s: float) -> None:
    assert decide.poll_interval_s(age_s) == expected_s


def test_a_row_beats_the_run_and_force_is_sent_only_where_it_was_asked_for() -> None:
    job = Job(job_id=1, volume_id="v", image_name="db", options=ImageOptions(disk_format="raw"))
    run = ImageOptions(disk_format="qcow2", container_format="bare")
    plain = decide.request_for(job, run, InUse.FAIL, servers_down=False).options
    assert (plain.disk_format, plain.container_format, plain.force) == ("raw", "bare", None)
    assert decide.request_for(job, run, InUse.FORCE, servers_down=False).options.force is True
    own = Job(job_id=1, volume_id="v", image_name="db", options=ImageOptions(force=False))
    assert decide.request_for(own, run, InUse.FORCE, servers_down=False).options.force is False


@pytest.mark.parametrize("force", [None, True, False])
@pytest.mark.parametrize("servers_down", [True, False])
def test_a_row_that_stops_servers_is_forced_exactly_while_they_are_down(
    force: bool | None, servers_down: bool
) -> None:
    """Also a row that asks for force: its data would be torn."""
    job = Job(job_id=1, volume_id="v", image_name="db", options=ImageOptions(force=force, in_use=InUse.STOP))
    request = decide.request_for(job, ImageOptions(), InUse.FAIL, servers_down=servers_down)
    assert request.options.force is servers_down


@pytest.mark.parametrize("force", [None, True, False])
def test_a_row_that_is_copied_is_never_forced(force: bool | None) -> None:
    """Its own volume would be, if it were sent by mistake, while its server writes."""
    job = Job(
        job_id=1, volume_id="v", image_name="db", options=ImageOptions(force=force, in_use=InUse.SNAPSHOT)
    )
    assert decide.request_for(job, ImageOptions(), InUse.FORCE, servers_down=True).options.force is False


GIB = 2**30
WHOLE = ImageDetails(disk_format="raw", container_format="bare", min_disk_gib=1, hash="sha512:9f86")
SAVED = Job(job_id=1, volume_id="v", image_name="db", options=ImageOptions(disk_format="raw"), size_gib=1)


def saved(details: ImageDetails | None = WHOLE, *, size_bytes: int | None = GIB) -> Image:
    return Image(image_id="i-1", name="db", status="active", details=details, size_bytes=size_bytes)


def test_a_finished_image_is_plainly_active_only_where_its_size_was_compared() -> None:
    plain = decide.finished(saved(), SAVED, ImageOptions())
    assert (plain.reason, plain.code, plain.image_hash) == ("active", None, "sha512:9f86")
    untold = decide.finished(saved(None), SAVED, ImageOptions())
    assert (untold.reason, untold.code, untold.image_hash) == (decide.SIZE_UNVERIFIED, None, None)


def test_a_finished_image_says_all_in_which_it_differs_and_keeps_its_hash() -> None:
    cut = decide.finished(saved(size_bytes=GIB // 2), SAVED, ImageOptions())
    assert cut.reason.startswith("active, but ")
    assert cut.code is not None
    assert cut.image_hash == "sha512:9f86"
    # What the row asks for counts before what the run does; what only the run asks for counts, too.
    both = decide.finished(
        saved(size_bytes=GIB // 2), SAVED, ImageOptions(disk_format="qcow2", container_format="ovf")
    )
    assert both.reason.count("; ") == 1
    assert "ovf" in both.reason and "qcow2" not in both.reason and "536,870,912 bytes" in both.reason
    assert both.code == "image_format" != cut.code


@pytest.mark.parametrize(
    ("accepted_at", "deadline_at", "expected_s"),
    [(1000.0, 4600.0, 900.0), (1000.0, 1020.0, 10.0), (None, None, 10.0), (0.0, 400.0, 100.0)],
)
def test_an_export_is_stuck_after_a_quarter_of_its_time_without_a_change(
    accepted_at: float | None, deadline_at: float | None, expected_s: float
) -> None:
    job = Job(
        job_id=1,
        volume_id="v",
        image_name="db",
        options=ImageOptions(),
        accepted_at=accepted_at,
        deadline_at=deadline_at,
    )
    assert decide.stuck_after_s(job) == expected_s


@pytest.mark.parametrize(
    ("found", "is_read", "seen"),
    [
        (None, False, "cannot be read"),
        (image("saving"), False, "cannot be read"),
        (None, True, "is gone"),
        (image("killed"), True, "is killed"),
        (image("saving"), True, "is saving and no longer changes"),
    ],
)
@pytest.mark.parametrize(
    ("is_uploading", "code", "volume"),
    [
        (True, decide.STUCK, "is still uploading"),
        (None, decide.STUCK, "volume cannot be read"),
        (False, "image_unreadable", "volume is free"),
    ],
)
def test_a_stuck_export_says_what_was_seen_and_what_to_do(
    found: Image | None, is_read: bool, seen: str, is_uploading: bool | None, code: str, volume: str
) -> None:
    job = Job(job_id=1, volume_id="v", image_name="db", options=ImageOptions(), image_id="i-1")
    ending = decide.stuck(job, found, is_read=is_read, is_uploading=is_uploading)
    assert ending.code == code
    assert f"image i-1 {seen}" in ending.reason and volume in ending.reason and "`retry`" in ending.reason
    assert ("openstack volume set --state available v" in ending.reason) is (code == decide.STUCK)


@pytest.mark.parametrize(
    ("exports", "pages", "cheaper"),
    [(1, 2, True), (90, 2, True), (91, 2, False), (90, 1, False), (0, 1, True), (181, 4, True)],
)
def test_images_are_read_by_their_ids_only_where_that_takes_fewer_requests(
    exports: int, pages: int, cheaper: bool
) -> None:
    assert decide.by_id_is_cheaper(exports, pages=pages) is cheaper

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batchexport.config.retention import Retention
from batchexport.dialect import CINDER
from batchexport.model import Image, ImageDetails, ImageOptions, TargetKey
from batchexport.plan.image_checks import defaults_of
from batchexport.plan.retention import Fate, OurImage, Recorded, classify

DEFAULTS = defaults_of(CINDER)
GIB = 2**30


def ours(number: int, **changes: Any) -> OurImage:
    """Image `number` of a volume; the newest is 0."""
    told = {
        "records": (Recorded(state_path=Path(f"{number}.state"), job_id=1),),
        "run_id": f"run-{number}",
        "target": TargetKey(),
        "volume_id": "v",
        "image_id": f"i{number}",
        "image_name": f"v-{number}",
        "intent_at": 200_000.0 - number,
        "asked": ImageOptions(),
        "size_gib": 10,
        "image_hash": None,
        "is_proved": True,
        "is_latest": number == 0,
    }
    return OurImage(**{**told, **changes})


def shown(
    number: int,
    *,
    status: str = "active",
    name: str | None = None,
    size_bytes: int = 10 * GIB,
    created_at: float | None = None,
    **details: Any,
) -> Image:
    told = ImageDetails(**{"disk_format": "raw", "container_format": "bare", **details})
    return Image(
        image_id=f"i{number}",
        name=name or f"v-{number}",
        status=status,
        size_bytes=size_bytes,
        created_at=200_000.0 - number if created_at is None else created_at,
        details=told,
    )


def classified(generations: list[OurImage], images: list[Image], rules: int | Retention, **how: Any) -> Any:
    by_id = {image.image_id: image for image in images}
    if isinstance(rules, int):
        rules = Retention(keep_last=rules)
    return classify(generations, by_id, rules=rules, defaults=DEFAULTS, **how)


def outdated(
    generations: list[OurImage], images: list[Image], rules: int | Retention, **how: Any
) -> list[str]:
    found = classified(generations, images, rules, **how)
    return [each.image.image_id for each in found if each.fate is Fate.SUPERSEDED]


def words_of(number: int, found: list[Any]) -> Any:
    (words,) = [each.words for each in found if each.image.image_id == f"i{number}"]
    return words


FOUR = [ours(number) for number in range(4)]
SHOWN = [shown(number) for number in range(4)]


@pytest.mark.parametrize(("keep", "gone"), [(1, ["i1", "i2", "i3"]), (3, ["i3"]), (4, []), (9, [])])
def test_the_newest_stay(keep: int, gone: list[str]) -> None:
    assert outdated(FOUR, SHOWN, keep) == gone


@pytest.mark.parametrize(
    "newest",
    [
        None,
        shown(0, status="saving"),
        shown(0, disk_format="qcow2"),
        shown(0, virtual_bytes=5 * GIB),
        shown(0, size_bytes=2**20),
        shown(0, size_bytes=0),
        shown(0, name="renamed"),
        Image(image_id="i0", name="v-0", status="active"),
    ],
    ids=["gone", "unfinished", "of another format", "too short", "1 MiB", "empty", "renamed", "of no time"],
)
def test_nothing_goes_unless_the_newest_is_as_it_should_be(newest: Image | None) -> None:
    images = [*SHOWN[1:], *([newest] if newest else [])]
    found = classified(FOUR, images, 1)
    assert not any(each.fate is Fate.SUPERSEDED for each in found)
    assert words_of(2, found).startswith("the latest run's image i0 supersedes none: ")


def test_an_image_that_is_still_to_be_delivered_stays() -> None:
    generations = [*FOUR[:2], ours(2, awaited_by=("cloud:west",)), FOUR[3]]
    assert outdated(generations, SHOWN, 1) == ["i1", "i3"]
    assert words_of(2, classified(generations, SHOWN, 1)) == "still to be delivered to cloud:west"


@pytest.mark.parametrize("changes", [{"is_proved": False}, {"size_gib": None}])
def test_nothing_goes_for_an_image_that_is_not_proved_ours_and_whole(changes: dict[str, Any]) -> None:
    assert outdated([ours(0, **changes), *FOUR[1:]], SHOWN, 1) == []


def test_nothing_goes_when_the_newest_is_not_the_one_whose_hash_was_recorded() -> None:
    generations = [ours(0, image_hash="sha512:aa"), ours(1)]
    images = [shown(0, hash="sha512:bb"), shown(1)]
    assert outdated(generations, images, 1) == []
    assert outdated(generations, [shown(0, hash="sha512:aa"), shown(1)], 1) == ["i1"]


@pytest.mark.parametrize(
    ("odd", "record"),
    [
        (None, {}),
        (shown(1, status="deactivated"), {}),
        (shown(1, status="killed"), {}),
        (shown(1, name="mine now"), {}),
        (shown(1, size_bytes=1), {}),
        (shown(1), {"is_proved": False}),
    ],
    ids=["gone", "deactivated", "killed", "renamed", "not whole", "found by its name"],
)
def test_what_is_not_proved_ours_and_whole_neither_counts_nor_goes(
    odd: Image | None, record: dict[str, bool]
) -> None:
    images = [shown(0), shown(2), shown(3)] + ([odd] if odd else [])
    four = [ours(0), ours(1, **record), ours(2), ours(3)]
    assert outdated(four, images, 2) == ["i3"]
    assert outdated(four, images, 1) == ["i2", "i3"]


def test_the_order_is_that_of_the_clouds_own_times() -> None:
    # The machine's clock was wrong in the night of image 0: its record says nothing of that.
    images = [shown(0, created_at=199_998.5), *SHOWN[1:]]
    assert outdated(FOUR, images, 1) == ["i0", "i2", "i3"]


def test_an_image_of_the_same_second_as_the_newest_stays() -> None:
    images = [shown(0), shown(1, created_at=200_000.0)]
    assert outdated([ours(0), ours(1)], images, 1) == []


def test_nothing_goes_while_it_is_blocked_and_the_reason_is_told() -> None:
    found = classified(FOUR, SHOWN, 1, blocked="a.state: damaged")
    assert [each.fate for each in found] == [Fate.RETAINED, *[Fate.IGNORED] * 3]
    assert words_of(3, found) == "a.state: damaged"


def test_nothing_goes_for_a_volume_that_the_latest_night_did_not_export() -> None:
    assert outdated([ours(1), ours(2)], SHOWN[1:3], 1) == []


# The rules, on days of Berlin. 2027-03-28 is a Sunday, and the clock goes forward in its night.
BERLIN = ZoneInfo("Europe/Berlin")


def times(*moments: str) -> list[float]:
    return [datetime.fromisoformat(each).replace(tzinfo=BERLIN).timestamp() for each in moments]


def kept(rules: dict[str, int], *moments: str) -> list[str]:
    words = Retention(zone=BERLIN, **rules).kept_by(times(*moments))
    return [moment for moment, rule in zip(moments, words, strict=True) if rule]


NIGHTS = (
    "2027-03-30T23:30",
    "2027-03-30T00:30",
    "2027-03-29T23:30",
    "2027-03-28T01:30",
    "2027-03-22T01:00",
    "2027-03-21T23:59",
    "2027-02-28T23:00",
    "2026-12-31T23:00",
)


@pytest.mark.parametrize(
    ("rules", "places"),
    [
        ({"keep_last": 3}, [0, 1, 2]),
        ({"keep_daily": 3}, [0, 2, 3]),
        ({"keep_weekly": 3}, [0, 3, 5]),
        ({"keep_monthly": 2}, [0, 6]),
        ({"keep_monthly": 9}, [0, 6, 7]),
        ({"keep_within_s": 2 * 86_400.0}, [0, 1, 2]),
        ({"keep_last": 1, "keep_monthly": 3}, [0, 6, 7]),
        ({"keep_daily": 1, "keep_weekly": 2}, [0, 3]),
    ],
)
def test_each_rule_keeps_the_newest_of_its_days_weeks_or_months(
    rules: dict[str, int], places: list[int]
) -> None:
    assert kept(rules, *NIGHTS) == [NIGHTS[place] for place in places]


def test_an_image_says_which_rules_keep_it() -> None:
    rules = Retention(keep_last=2, keep_daily=1, keep_within_s=86_400.0, zone=BERLIN)
    words = rules.kept_by(times("2027-03-30T23:30", "2027-03-30T00:30", "2027-03-28T01:30"))
    assert words == ["keep_last = 2, keep_daily = 1, keep_within = 1d", "keep_last = 2, keep_within = 1d", ""]


def test_a_day_is_that_of_the_jobs_time_zone() -> None:
    moments = times("2027-03-30T00:30", "2027-03-29T23:30")
    assert [bool(each) for each in Retention(keep_daily=2, zone=BERLIN).kept_by(moments)] == [True, True]
    assert [bool(each) for each in Retention(keep_daily=2).kept_by(moments)] == [True, False]

import re

import pytest

from batchexport.dialect import CINDER, EVS, Dialect
from batchexport.errors import ConfigError
from batchexport.model import NO_OPTIONS, JobRow, JobRows, TargetKey
from batchexport.naming import Namer, UnfitNameError, cleaned

RUN = "20261124-abc123"
A = "16369c5d-384d-4e64-b37a-56d898769362"
B = "16369c5d-0000-4e64-b37a-56d898769362"
C = "99369c5d-384d-4e64-b37a-56d898769362"


def row(
    volume_name: str | None = None,
    *,
    volume_id: str = A,
    line: int = 2,
    image_name: str | None = None,
    target: TargetKey | None = None,
) -> JobRow:
    return JobRow(
        line=line,
        volume_id=volume_id,
        image_name=image_name,
        volume_name=volume_name,
        target=target or TargetKey(),
        options=NO_OPTIONS,
    )


def names(template: str, *rows: JobRow, dialect: Dialect | None = None) -> list[str]:
    namer = Namer(template, dialect, RUN)
    return [namer.name(each) for each in rows]


def test_every_field_is_filled_in() -> None:
    template = "{volume_name} {volume_id} {run} {date} {line}"
    assert names(template, row("db")) == [f"db {A} {RUN} 20261124 2"]


@pytest.mark.parametrize(
    ("volume_name", "evs", "cinder"),
    [
        ("db-01_a.b c", "db-01_a.b c", "db-01_a.b c"),
        ("Straße/№1", "Stra-e-1", "Straße/№1"),
        ("数据盘", "数据盘", "数据盘"),
        ("  padded  ", "padded", "padded"),
        ("a\x00\x1fb\nc", "a-b-c", "a-b-c"),
        ("'=cmd", "-cmd", "=cmd"),
        ("it's", "it-s", "it's"),
    ],
)
def test_a_name_is_cleaned_to_what_the_cloud_takes(volume_name: str, evs: str, cinder: str) -> None:
    assert cleaned(volume_name, EVS) == evs
    assert cleaned(volume_name, CINDER) == cinder
    assert names("{volume_name}", row(volume_name)) == [evs]


@pytest.mark.parametrize("volume_name", ["База данных", "💾💾", "--", ""])
def test_a_name_of_which_nothing_is_left_is_the_volumes_id(volume_name: str) -> None:
    assert names("{volume_name}", row(volume_name), dialect=EVS) == [A]


@pytest.mark.parametrize("volume_name", ["База данных", "서버", "財務システム", "Büro"])
def test_a_name_in_any_script_stays_whole_on_cinder(volume_name: str) -> None:
    assert names("{volume_name}", row(volume_name), dialect=CINDER) == [volume_name]


def test_while_the_cloud_is_not_known_a_template_may_hold_what_either_takes() -> None:
    assert names("{volume_id}:{run}", row()) == [f"{A}:{RUN}"]
    with pytest.raises(UnfitNameError, match="made from the template"):
        names("{volume_id}:{run}", row(), dialect=EVS)


@pytest.mark.parametrize("template", ["{date:%Y}", "{date!r}", "{line:>5}", "{volume_id:{run}}"])
def test_a_format_in_a_template_is_refused_with_what_is_allowed(template: str) -> None:
    with pytest.raises(ConfigError, match="takes no format of its own; allowed: "):
        Namer(template, EVS, RUN)


@pytest.mark.parametrize("dialect", [EVS, CINDER])
@pytest.mark.parametrize("template", ["{volume_name}-{run}", "{volume_name}{volume_name} {date}"])
def test_a_long_name_is_cut_so_that_the_whole_fits(dialect: Dialect, template: str) -> None:
    (name,) = names(template, row("n" * 300), dialect=dialect)
    assert len(name) in range(dialect.max_image_name_length - 1, dialect.max_image_name_length + 1)
    assert name.endswith(("20261124", RUN))


def test_a_cut_leaves_no_blank_where_none_may_be() -> None:
    (name,) = names("{volume_name}", row("n" * 127 + " more"), dialect=EVS)
    assert name == "n" * 127


def test_volumes_that_share_a_name_are_told_apart_by_their_ids() -> None:
    assert names("{volume_name}", row("db!"), row("db?", volume_id=B), row("db-", volume_id=C)) == [
        "db-",
        "db--16369c5d",
        "db--99369c5d",
    ]


def test_ids_that_begin_alike_are_told_apart_in_full() -> None:
    shared = [row("db", volume_id=C), row("db"), row("db", volume_id=B)]
    assert names("{volume_name}", *shared)[1:] == ["db-16369c5d", f"db-{B}"]


def test_a_name_that_is_cut_and_shared_has_room_for_what_tells_it_apart() -> None:
    first, second = names("{volume_name}-{run}", row("n" * 300), row("n" * 300, volume_id=C))
    assert len(first) == len(second) == 128
    assert re.fullmatch(f"n+-99369c5d-{RUN}", second)


def test_a_name_that_the_list_gives_to_another_row_is_not_given_again() -> None:
    given = names("{volume_name}", row("x", image_name="db", volume_id=C), row("db"))
    assert given == ["db", "db-16369c5d"]


def test_one_name_in_two_projects_is_no_clash() -> None:
    there = TargetKey("other", None, None)
    assert names("{volume_name}", row("db"), row("db", volume_id=B, target=there)) == ["db", "db"]


@pytest.mark.parametrize("template", ["{volume_name}-{line}", "{volume_name}-{volume_id}"])
def test_what_tells_rows_apart_anyway_gets_no_suffix(template: str) -> None:
    first, second = names(template, row("db"), row("db", volume_id=B, line=3))
    assert first != second
    assert first.count("16369c5d") <= 1


def test_a_volume_without_a_name_is_called_by_its_id() -> None:
    assert names("{volume_name}", row("")) == [A]


def test_a_row_that_does_not_tell_the_name_gets_none() -> None:
    with pytest.raises(UnfitNameError, match="is missing, and the name template fills it in") as caught:
        names("{volume_name}-{run}", row())
    assert caught.value.name is None


def test_a_template_that_makes_no_valid_name_is_told_with_the_name() -> None:
    with pytest.raises(UnfitNameError, match="made from the template; allowed: 1 to 128") as caught:
        names("{volume_id}:{run}", row(), dialect=EVS)
    assert caught.value.name == f"{A}:{RUN}"


def test_a_template_without_room_for_the_name_is_told() -> None:
    with pytest.raises(UnfitNameError, match="made from the template"):
        names("x" * 200 + "{volume_name}", row("db"), dialect=EVS)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{name}", "no 'name' to fill in; allowed: {volume_id}, {volume_name}, "),
        ("{", "allowed: {volume_id}"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(template: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Namer(template, None, RUN)
    assert words in str(caught.value)


ROWS = JobRows(first_line=7, volume_ids=[A, B, C], image_names=None, target=TargetKey(), options=NO_OPTIONS)


@pytest.mark.parametrize("template", ["{volume_id}-{run}", "{line}", "{date} {volume_id} {line} {run}"])
def test_rows_are_named_together_as_one_by_one(template: str) -> None:
    assert Namer(template, None, RUN).names(ROWS) == names(template, *ROWS)


@pytest.mark.parametrize(
    "template", ["{volume_name}", "{volume_id}-{volume_name}", "{volume_id}:{run}", "{line} "]
)
def test_rows_that_may_get_no_name_or_a_shared_one_are_named_one_by_one(template: str) -> None:
    assert Namer(template, EVS, RUN).names(ROWS) is None

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchexport.dialect import CINDER, EVS, Dialect
from batchexport.lists import Problem
from batchexport.lists.problem import shown
from batchexport.model import InUse
from tests.lists.conftest import Reading

A = "16369c5d-384d-4e64-b37a-56d898769362"


@pytest.fixture
def cell(read: Callable[..., Reading]) -> Callable[..., Any]:
    """The one row, or the problems, of a list with one cell beside the id."""

    def cell(column: str, text: str, dialect: Dialect | None = None) -> Any:
        reading = read(f'volume_id,{column}\n{A},"{text}"\n', dialect)
        return reading.rows[0] if reading.rows else [problem.message for problem in reading.problems]

    return cell


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("9h", 32_400),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("31d", 2_678_400),
        (" 5m ", 300),
        ("90", 90),
    ],
)
def test_a_timeout_is_seconds_or_a_number_with_its_unit(
    cell: Callable[..., Any], text: str, seconds: int
) -> None:
    assert cell("timeout", text).options.timeout_s == seconds


@pytest.mark.parametrize("text", ["1h30m", "h", "-5m", "5 minutes", "1e3s", "٣h", "nan"])
def test_a_timeout_that_is_no_duration_is_refused(cell: Callable[..., Any], text: str) -> None:
    assert cell("timeout", text) == [
        "is not a duration; allowed: seconds, or a number with its unit, as in 90, 90s, 30m, 9h or 2d"
    ]


@pytest.mark.parametrize("text", ["0s", "0.000d", "32d", "999999999d", "9999999999s"])
def test_a_timeout_of_nothing_or_over_a_month_is_refused(cell: Callable[..., Any], text: str) -> None:
    assert cell("timeout", text) == ["is out of range; allowed: more than 0s, at most 31d"]


@pytest.mark.parametrize(
    ("text", "value"),
    [(word, True) for word in ("true", "YES", "1", "On")]
    + [(word, False) for word in ("false", "no", "0", " OFF ")],
)
def test_yes_and_no_are_known_in_many_words(cell: Callable[..., Any], text: str, value: bool) -> None:
    assert cell("force", text).options.force is value
    assert cell("protected", text).options.protected is value


@pytest.mark.parametrize("text", ["stop", " STOP "])
def test_a_row_says_what_becomes_of_it_while_its_volume_is_in_use(
    cell: Callable[..., Any], text: str
) -> None:
    assert cell("in_use", text).options.in_use is InUse.STOP


@pytest.mark.parametrize("text", ["y", "2", "wahr", "truefalse"])
def test_other_words_are_neither_yes_nor_no(cell: Callable[..., Any], text: str) -> None:
    (message,) = cell("force", text)
    assert message == "is neither yes nor no; allowed: true, false, yes, no, 1, 0, on, off"


@pytest.mark.parametrize(
    ("column", "text", "allowed"),
    [
        ("disk_format", "iso", "vhd, zvhd, zvhd2, raw, qcow2, vmdk, vdi, vhdx, ploop"),
        ("container_format", "docker", "ami, ari, aki, ovf, bare"),
        ("os_type", "solaris", "windows, linux"),
        ("in_use", "ask", "fail, skip, force, stop, snapshot"),
        ("visibility", "secret", "private, shared, community, public"),
    ],
)
def test_a_word_outside_its_set_is_met_with_the_set(
    cell: Callable[..., Any], column: str, text: str, allowed: str
) -> None:
    assert cell(column, text) == [f"is not allowed; allowed: {allowed}"]


def test_a_dialect_knows_its_own_disk_formats(cell: Callable[..., Any]) -> None:
    assert cell("disk_format", "zvhd2", EVS).options.disk_format == "zvhd2"
    assert cell("disk_format", "zvhd2", CINDER) == [
        "is not allowed; allowed: raw, vmdk, vdi, qcow2, vhd, vhdx, ploop"
    ]


def test_cinder_takes_no_os_type(cell: Callable[..., Any]) -> None:
    assert cell("os_type", "linux", EVS).options.os_type == "linux"
    assert cell("os_type", "linux", CINDER) == [
        "is not taken by a cloud of the family cinder; leave it empty"
    ]


@pytest.mark.parametrize(("column", "text"), [("visibility", "shared"), ("protected", "yes")])
def test_evs_takes_neither_visibility_nor_protection(
    cell: Callable[..., Any], column: str, text: str
) -> None:
    assert not isinstance(cell(column, text, CINDER), list)
    assert cell(column, text, EVS) == ["is not taken by a cloud of the family evs; leave it empty"]


@pytest.mark.parametrize("name", ["a", "x" * 128, "a b.c-d_e", "财务系统", "㐀"])
def test_a_name_by_the_rules_of_the_api_passes(cell: Callable[..., Any], name: str) -> None:
    assert cell("image_name", name).image_name == name


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("x" * 129, "is 129 characters long"),
        (" web", "starts or ends with a space"),
        ("web ", "starts or ends with a space"),
        ("web:01", 'has ":" at position 4'),
        ("größe", 'has "ö" at position 3'),
        ("a\tb", "has a control character (U+0009) at position 2"),
    ],
)
def test_a_name_against_the_rules_is_told_why(cell: Callable[..., Any], name: str, wrong: str) -> None:
    (message,) = cell("image_name", name, EVS)
    assert message.startswith(f"{wrong}; allowed: {EVS.image_name_rule}")


@pytest.mark.parametrize("name", ["Büro-Daten", "a/b", "x" * 200, "База данных"])
def test_a_name_that_either_cloud_takes_passes_while_the_cloud_is_not_known(
    cell: Callable[..., Any], name: str
) -> None:
    assert cell("image_name", name).image_name == name
    (message,) = cell("image_name", name, EVS)
    assert "--dialect cinder takes it" in message


@pytest.mark.parametrize("bad", ["\x1b", "\x9b", "\u2028", "\u202e"])
def test_what_a_terminal_would_act_on_is_in_no_name_and_in_no_message(
    cell: Callable[..., Any], bad: str
) -> None:
    for dialect in (None, EVS, CINDER):
        (message,) = cell("image_name", f"a{bad}b", dialect)
        assert message.startswith("has a control character (U+")
        assert bad not in message


def test_a_name_for_cinder_may_be_almost_anything(cell: Callable[..., Any]) -> None:
    assert cell("image_name", "größe: 40 %", CINDER).image_name == "größe: 40 %"
    assert cell("image_name", "x" * 256, CINDER) == [
        f"is 256 characters long; allowed: {CINDER.image_name_rule}"
    ]


@pytest.mark.parametrize("column", ["cloud", "region", "project"])
def test_the_name_of_a_place_is_a_short_plain_text(cell: Callable[..., Any], column: str) -> None:
    assert getattr(cell(column, " eu-de ").target, column) == "eu-de"
    wrong = ["is not a name; allowed: up to 255 characters, none a control character"]
    assert cell(column, "x" * 256) == wrong
    assert cell(column, "eu\x07de") == wrong


def test_a_problem_reads_as_one_sentence() -> None:
    problem = Problem(source="a.csv", line=4, field="force", value="maybe", message="is neither yes nor no")
    assert str(problem) == 'line 4, force: "maybe" is neither yes nor no'


def test_a_problem_of_a_whole_element_names_no_field() -> None:
    problem = Problem(source="a.json", line=4, message="is nested", counted="element")
    assert str(problem) == "element 4: is nested"


def test_a_long_value_is_shown_cut() -> None:
    assert shown("x" * 60) == f'"{"x" * 60}"'
    assert shown("x" * 61) == f'"{"x" * 59}…"'
    assert len(shown("\0" * 100_000)) == 62


def test_what_a_terminal_would_act_on_is_shown_escaped() -> None:
    assert shown("a\x1b[2Jb\n\u202ec\xa0\udce4数") == '"a\\x1b[2Jb\\n\\u202ec\\xa0\\udce4数"'

"""What properties and tags may be, and what of them an image lacks."""

import pytest

from batchexport.image_labels import (
    MAX_TAGS,
    Labels,
    checked_tags,
    parse_properties,
    parse_property,
    parse_tag,
    parse_tags,
    properties_of,
    properties_text,
    source_properties,
    tags_text,
)
from batchexport.model import NO_OPTIONS, ImageOptions


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("team=storage", ("team", "storage")),
        (" os_type = linux ", ("os_type", "linux")),
        ("note=a=b; c", ("note", "a=b; c")),
        ("hw:cpu-x.y_z=", ("hw:cpu-x.y_z", "")),
        ("owner_team=数据", ("owner_team", "数据")),
    ],
)
def test_a_property_is_a_key_and_a_value(text: str, pair: tuple[str, str]) -> None:
    assert parse_property(text) == pair


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("team", "not KEY=VALUE"),
        ("=x", "not a key"),
        ("a/b=x", "not a key"),
        ("a b=x", "not a key"),
        ("é=x", "not a key"),
        ("k" * 256 + "=x", "not a key"),
        ("status=active", "not for users"),
        ("min_disk=1", "not for users"),
        ("os_glance_x=1", "not for users"),
        ("batchexport_run=1", "not for users"),
        ("a=" + "x" * 256, "not allowed"),
        ("a=\x00", "not allowed"),
        ("a=\U0001f4be", "not allowed"),
    ],
)
def test_what_is_no_property_is_refused_and_told_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_property(text)


def test_properties_of_a_cell_read_back() -> None:
    pairs = (("a", "1;2"), ("b", "="), ("c", "数"))
    assert parse_properties(properties_text(pairs)) == pairs
    assert parse_properties("a=1; b=2;") == (("a", "1"), ("b", "2"))
    assert parse_properties("a=1;a=1") == (("a", "1"),)


@pytest.mark.parametrize(
    "text", ["a=1;a=2", "{", '{"a": 1}', '{"a": {}}', "{[", "a", '{"id": "x"}', "{" * 99_999]
)
def test_cells_that_hold_no_properties_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_properties(text)


@pytest.mark.parametrize("content", [[], "a=b", 5, {"a": 1}, {1: "a"}, {f"k{n}": "v" for n in range(101)}])
def test_a_mapping_that_holds_no_properties_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        properties_of(content)


def test_tags_of_a_cell_read_back() -> None:
    assert parse_tags("nightly; gold tier,x;;nightly") == ("nightly", "gold tier", "x")
    assert parse_tags(tags_text(("a b", "数"))) == ("a b", "数")


@pytest.mark.parametrize("text", ["", " a", "a ", "a,b", "a;b", "x" * 256, "\n", "\U0001f4be"])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a tag"):
        parse_tag(text)


def test_more_tags_than_an_image_has_are_refused() -> None:
    assert len(checked_tags(str(number) for number in range(MAX_TAGS))) == MAX_TAGS
    with pytest.raises(ValueError, match="too many"):
        checked_tags(str(number) for number in range(MAX_TAGS + 1))


def test_an_image_lacks_what_it_has_not_or_has_otherwise() -> None:
    wanted = Labels(properties={"a": "1", "b": "2"}, tags=("x", "y"))
    there = Labels(properties={"a": "1", "b": "3", "c": "4"}, tags=("y", "theirs"))
    assert wanted.lacking_in(there) == Labels(properties={"b": "2"}, tags=("y", "theirs", "x"))
    assert not wanted.lacking_in(Labels(properties={"a": "1", "b": "2"}, tags=("y", "x", "z")))
    assert not Labels()


def test_what_an_image_was_made_of_is_text_that_an_image_service_takes() -> None:
    said = source_properties(volume_id="v", volume_name="db \U0001f4be\n" + "x" * 300, run_id="r", line=7)
    assert said["batchexport_volume_name"][:6] == "db ??x"
    assert len(said["batchexport_volume_name"]) == 255
    assert said["batchexport_line"] == "7"
    nameless = source_properties(volume_id="v", volume_name="", run_id="r", line=None)
    assert nameless == {"batchexport_volume_id": "v", "batchexport_run": "r"}


def test_labels_of_row_and_run_are_set_both_and_the_rows_go_over_the_runs() -> None:
    run = ImageOptions(properties=(("a", "1"), ("b", "1")), tags=("x", "y"), provenance=False)
    row = ImageOptions(properties=(("b", "2"), ("c", "2")), tags=("y", "z"))
    mixed = row.over(run)
    assert dict(mixed.properties or ()) == {"a": "1", "b": "2", "c": "2"}
    assert mixed.tags == ("x", "y", "z")
    assert mixed.provenance is False
    assert not NO_OPTIONS.has_labels and mixed.has_labels
    assert NO_OPTIONS.over(run) == run.over(NO_OPTIONS) == run

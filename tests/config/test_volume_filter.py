from pathlib import Path
from typing import Any

import pytest

from batchexport.cli.discover import discover
from batchexport.config.jobfile import JobFile, read_job_file
from batchexport.config.volume_filter import VolumeFilter
from batchexport.errors import ConfigError
from batchexport.model import Volume
from tests.config.test_schema import SCHEMA
from tests.plan.records import volume

GOLD = volume(
    name="db-01",
    size_gib=40,
    servers=["s1", "s2"],
    availability_zone="az1",
    volume_type="SSD",
    metadata={"tier": "gold"},
)


@pytest.mark.parametrize(
    ("wish", "fits"),
    [
        ({}, True),
        ({"statuses": ["in-use", "available"]}, True),
        ({"statuses": ["error"]}, False),
        ({"names": ["web-*", "db-*"]}, True),
        ({"names": ["DB-*"]}, False),
        ({"zones": ["az1"]}, True),
        ({"zones": ["az2"]}, False),
        ({"types": ["SSD"]}, True),
        ({"types": ["ssd"]}, False),
        ({"server_ids": ["s2", "s9"]}, True),
        ({"server_ids": ["s9"]}, False),
        ({"metadata": [("tier", "g*")]}, True),
        ({"metadata": [("tier", "gold"), ("owner", "*")]}, False),
        ({"min_gib": 40, "max_gib": 40}, True),
        ({"min_gib": 41}, False),
        ({"max_gib": 39}, False),
        ({"names": ["db-*"], "max_gib": 39}, False),
    ],
)
def test_a_volume_is_chosen_if_every_wish_fits(wish: dict[str, Any], fits: bool) -> None:
    assert VolumeFilter(**wish).matches(GOLD) is fits


def test_a_volume_that_says_nothing_fits_only_where_nothing_is_asked() -> None:
    unknown = Volume(volume_id="v", status="available")
    assert VolumeFilter(statuses=["available"]).matches(unknown)
    for wish in ({"names": ["?*"]}, {"zones": ["a"]}, {"max_gib": 9}, {"metadata": [("a", "*")]}):
        assert not VolumeFilter(**wish).matches(unknown)


def wanted(tmp_path: Path, text: str, *, job: str = "") -> JobFile:
    path = tmp_path / "job.toml"
    path.write_text(f"[job]\n{job}\n[discover]\n{text}", encoding="utf-8")
    return read_job_file(path)


def test_a_job_file_has_every_wish_of_the_command(tmp_path: Path) -> None:
    text = """
    status = "available"
    name = ["db-*", "web-*"]
    availability_zone = "az1"
    type = ["SSD"]
    attached_to = "server-1"
    metadata = { tier = "gold", owner = "*" }
    min_size = 10
    max_size = 10
    """
    found = wanted(tmp_path, text)
    assert found.list_path is None
    assert found.volume_filter == VolumeFilter(
        statuses=("available",),
        names=("db-*", "web-*"),
        zones=("az1",),
        types=("SSD",),
        metadata=(("tier", "gold"), ("owner", "*")),
        server_ids=("server-1",),
        min_gib=10,
        max_gib=10,
    )


def test_a_table_that_says_nothing_wants_every_volume(tmp_path: Path) -> None:
    assert wanted(tmp_path, "").volume_filter == VolumeFilter()


def test_the_words_are_those_of_the_command() -> None:
    options = {name for option in discover.params for name in option.opts}
    for key in SCHEMA["properties"]["discover"]["properties"]:
        assert f"--{key.replace('_', '-')}" in options


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status = 1", "[discover] status: must be a text in quotes, or an array of such texts"),
        ('status = ["a", ""]', "[discover] status: must be a text"),
        ("name = []", "[discover] name: is empty; leave the key out"),
        ('metadata = "tier=gold"', "[discover] metadata: must be a table of keys and patterns"),
        ("metadata = { tier = 1 }", "[discover] metadata: must be a table"),
        ("min_size = -1", "[discover] min_size: is -1; it must be 0 or more"),
        ("min_size = 9\nmax_size = 8", "[discover] max_size: is less than min_size: no volume can match"),
        ('names = "a"', "[discover] names: unknown key; did you mean name?"),
    ],
)
def test_a_wrong_wish_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wanted(tmp_path, text)
    assert words in str(caught.value)


def test_a_list_is_a_file_or_discovered_and_not_both(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        wanted(tmp_path, "", job='list = "a.csv"')
    assert "[job] list: conflicts with [discover]" in str(caught.value)


def test_looking_first_can_be_left_out(tmp_path: Path) -> None:
    assert wanted(tmp_path, "").layer.preflight is None
    assert wanted(tmp_path, "", job="preflight = false").layer.preflight is False

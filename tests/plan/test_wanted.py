import pytest

from batchexport.model import Volume
from batchexport.plan.wanted import Wanted
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
        ({"least_gib": 40, "most_gib": 40}, True),
        ({"least_gib": 41}, False),
        ({"most_gib": 39}, False),
        ({"names": ["db-*"], "most_gib": 39}, False),
    ],
)
def test_a_volume_is_chosen_if_every_wish_fits(wish, fits):
    assert Wanted(**wish).fits(GOLD) is fits


def test_a_volume_that_says_nothing_fits_only_where_nothing_is_asked():
    unknown = Volume(volume_id="v", status="available")
    assert Wanted(statuses=["available"]).fits(unknown)
    for wish in ({"names": ["?*"]}, {"zones": ["a"]}, {"most_gib": 9}, {"metadata": [("a", "*")]}):
        assert not Wanted(**wish).fits(unknown)

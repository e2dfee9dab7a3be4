"""When two sign-ins are of one cloud."""

import pytest
from msgspec.structs import replace

from batchexport.identity import SANDBOX, CloudIdentity, difference, service_address

HERE = CloudIdentity(
    cloud="prod",
    region="eu-de",
    project_id="a" * 32,
    project_name="demo",
    identity_url="https://iam.example.com",
    block_storage_url="https://evs.example.com",
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("HTTPS://IAM.Example.com:443/v3/", "https://iam.example.com"),
        ("http://iam.example.com:5000/identity/v3", "http://iam.example.com:5000/identity"),
        ("https://user:secret@iam.example.com/v3?token=secret", "https://iam.example.com"),
        (f"https://evs.example.com/v2/{'a' * 32}", "https://evs.example.com"),
        ("https://example.com/volume/v3.0/" + "a" * 32, "https://example.com/volume"),
        ("http://[::1]:80/v3", "http://[::1]"),
        ("http://host:port/v3", "http://host"),
    ],
)
def test_an_address_is_written_one_way_and_holds_no_secret(url: str, address: str) -> None:
    assert service_address(url) == address


@pytest.mark.parametrize(
    ("changes", "unlike"),
    [
        ({}, None),
        ({"cloud": "by another name", "project_name": "renamed"}, None),
        ({"project_id": "b" * 32}, "project"),
        ({"region": "eu-nl"}, "region"),
        ({"identity_url": "https://other"}, None),
        ({"block_storage_url": "https://internal"}, None),
        ({"identity_url": "https://other", "block_storage_url": "https://other"}, "address"),
        ({"identity_url": None, "block_storage_url": "https://other"}, "address"),
        ({"region": None, "project_id": None}, None),
        ({"is_sandbox": True}, "cloud"),
    ],
)
def test_project_and_region_decide_and_one_address_of_two(
    changes: dict[str, bool], unlike: str | None
) -> None:
    assert difference(HERE, replace(HERE, **changes)) == unlike
    assert difference(replace(HERE, **changes), HERE) == unlike


def test_the_practice_cloud_is_always_the_same() -> None:
    assert difference(SANDBOX, replace(SANDBOX, identity_url="http://127.0.0.1:1")) is None


def test_it_reads_well_with_what_is_told() -> None:
    assert str(HERE) == (f"cloud prod, region eu-de, project demo ({'a' * 32}), at https://iam.example.com")
    assert str(CloudIdentity()) == "a cloud unnamed"
    assert HERE.project == "demo"

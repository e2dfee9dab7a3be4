from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.engine import decide
from batchexport.engine.decide import SIZE_UNVERIFIED
from batchexport.model import Image, ImageOptions
from batchexport.plan import Severity, check_image, is_size_verified
from tests.plan.records import HASH, image, job

RAW = ImageOptions(disk_format="raw", container_format="bare")
GIB = 2**30


def codes(
    found: Image | None,
    *,
    options: ImageOptions = RAW,
    size_gib: int | None = 10,
    image_hash: str | None = None,
) -> list[str]:
    findings = check_image(found, options=options, size_gib=size_gib, image_hash=image_hash)
    assert {finding.severity for finding in findings} <= {Severity.MISMATCH}
    return [finding.code for finding in findings]


def test_an_image_as_asked_for_passes() -> None:
    assert codes(image(virtual_bytes=10 * GIB, min_disk_gib=10), image_hash=HASH) == []


def test_an_image_that_is_gone_or_not_active_does_not() -> None:
    assert codes(None) == ["image_gone"]
    assert codes(image(status="deactivated")) == ["image_status"]


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({}, "active"),
        ({"disk_format": "qcow2", "virtual_bytes": 10 * GIB, "size_bytes": GIB}, "active"),
        ({"disk_format": "qcow2", "size_bytes": GIB}, SIZE_UNVERIFIED),
        ({"disk_format": "zvhd2", "size_bytes": None}, SIZE_UNVERIFIED),
    ],
)
def test_a_size_that_cannot_be_compared_is_called_unverified(details: Any, reason: str) -> None:
    row = replace(job(), size_gib=10)
    found = decide.finished(image(**details), row, ImageOptions())
    assert (found.reason, found.code) == (reason, None)


@pytest.mark.parametrize("name", ["disk_format", "container_format"])
def test_other_formats_than_asked_for_are_told(name: str) -> None:
    other: dict[str, Any] = {name: "ovf"}
    untold: dict[str, Any] = {name: None}
    assert codes(image(**other)) == ["image_format"]
    assert codes(image(**untold)) == []
    assert codes(image(**other), options=ImageOptions()) == []


def test_an_image_that_is_smaller_than_its_volume_is_told() -> None:
    assert codes(image(virtual_bytes=10 * GIB - 1)) == ["image_short"]
    assert codes(image(min_disk_gib=9)) == ["image_min_disk"]
    assert codes(image(min_disk_gib=9, virtual_bytes=1), size_gib=None) == []


def test_a_hash_is_compared_where_both_are_known() -> None:
    assert codes(image(), image_hash="sha512:00") == ["image_hash"]
    assert codes(image(hash=None), image_hash="sha512:00") == []
    assert codes(image(), image_hash=None) == []


def test_what_the_cloud_does_not_tell_is_not_held_against_the_image() -> None:
    bare = Image(image_id="i", name="n", status="active")
    assert codes(bare, image_hash=HASH) == []


@pytest.mark.parametrize(
    ("size_bytes", "found"),
    [
        (10 * GIB, []),
        (0, ["image_short"]),
        (1, ["image_short"]),
        (10 * GIB - 1, ["image_short"]),
        (10 * GIB + 1, ["image_size"]),
        (None, []),
    ],
)
def test_a_raw_image_has_every_byte_of_its_volume(size_bytes: int | None, found: list[Any]) -> None:
    assert codes(image(size_bytes=size_bytes)) == found


def test_an_image_that_leaves_zeros_out_may_be_smaller_but_never_empty() -> None:
    qcow2 = ImageOptions(disk_format="qcow2")
    assert codes(image(disk_format="qcow2", size_bytes=1), options=qcow2) == []
    assert codes(image(disk_format="qcow2", size_bytes=0), options=qcow2) == ["image_short"]
    assert codes(image(disk_format="qcow2", size_bytes=0), options=qcow2, size_gib=None) == ["image_short"]


def test_another_name_than_it_was_given_is_told() -> None:
    findings = check_image(image(name="web-02"), options=RAW, size_gib=10, name="web-01")
    assert [each.code for each in findings] == ["image_name"]
    assert check_image(image(name="web-01"), options=RAW, size_gib=10, name="web-01") == []


@pytest.mark.parametrize(
    ("found", "size_gib", "verified"),
    [
        (image(), 10, True),
        (image(), None, False),
        (image(size_bytes=None), 10, False),
        (image(disk_format="qcow2"), 10, False),
        (image(disk_format="qcow2", virtual_bytes=10 * GIB), 10, True),
        (Image(image_id="i", name="n", status="active"), 10, False),
    ],
)
def test_what_the_cloud_does_not_tell_is_not_verified(found: Image, size_gib: int, verified: bool) -> None:
    assert is_size_verified(found, size_gib) is verified

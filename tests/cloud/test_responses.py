"""One odd value, one odd record: the rest is read all the same."""

from __future__ import annotations

import json
import logging

import msgspec
import pytest

from batchexport.cloud.block_storage import LongVolumePage, VolumePage
from batchexport.cloud.http.responses import LenientDecoder
from batchexport.cloud.image import ImagePage

FINE = {"id": "a1", "name": "fine", "status": "active", "size": 5, "updated_at": "2026-11-23T08:00:47Z"}
ODD_VALUES = ["40 GB", 1.5, {"a": 1}, [], [1], True, 10**40, -1, "None"]


def images(*records: object) -> bytes:
    return json.dumps({"images": list(records), "next": None}).encode()


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize(
    "field", ["__image_size", "size", "virtual_size", "min_disk", "protected", "os_hash_value", "created_at"]
)
def test_an_odd_value_of_one_image_hides_no_image(field: str, value: object) -> None:
    page = LenientDecoder(ImagePage).decode(images(FINE, {**FINE, "id": "odd", field: value}, FINE))
    assert [(record.id, record.status) for record in page.images] == [
        ("a1", "active"), ("odd", "active"), ("a1", "active")
    ]  # fmt: skip


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("field", ["size", "attachments", "metadata", "encrypted", "volume_type"])
def test_an_odd_value_of_one_volume_hides_no_volume(field: str, value: object) -> None:
    body = json.dumps({"volumes": [{"id": "v1", "status": "uploading", field: value}, {"id": "v2"}]}).encode()
    page = LenientDecoder(LongVolumePage).decode(body)
    assert [record.id for record in page.volumes] == ["v1", "v2"]
    assert page.volumes[0].status == "uploading"


@pytest.mark.parametrize("entry", [None, 7, "a", [], {}, {"id": None}, {"id": 5.5}, {"name": "no id"}])
def test_an_entry_without_an_id_is_passed_over_and_named_once(
    entry: object, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = LenientDecoder(VolumePage)
    body = json.dumps({"volumes": [{"id": "v1"}, entry, {"id": "v2"}]}).encode()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [record.id for record in decoder.decode(body).volumes] == ["v1", "v2"]
    assert len(caplog.records) == 1


def test_odd_links_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    body = json.dumps({"volumes": [{"id": "v1"}], "volumes_links": "none"}).encode()
    assert not LenientDecoder(VolumePage).decode(body).has_next
    assert not caplog.records


def test_the_warnings_are_few_however_many_entries_are_odd(caplog: pytest.LogCaptureFixture) -> None:
    body = images(*({"name": f"image {number}"} for number in range(500)))
    assert LenientDecoder(ImagePage).decode(body).images == []
    assert 1 <= len(caplog.records) <= 20


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b"{}", b'{"images": 7}', b'{"images": null}'])
def test_what_is_no_list_at_all_cannot_be_read(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        LenientDecoder(ImagePage).decode(body)

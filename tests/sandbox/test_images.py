from __future__ import annotations

import uuid
from urllib.parse import quote

import pytest

from batchexport.sandbox import SandboxSettings
from tests.sandbox.asking import IMAGES, OTHER_VOLUME, V3, VOLUME, Asker, asking

JSON = {"Accept": "application/json"}


async def listed(asker: Asker, query: str) -> list[str]:
    answer = await asker.get(f"{IMAGES}?{query}")
    assert answer.status == 200, answer.text
    return [image["name"] for image in answer.json["images"]]


async def with_images(asker: Asker, count: int) -> list[str]:
    """The ids of images `i0`, `i1` … made ten seconds apart; all but the last are active."""
    image_ids = []
    for number in range(count):
        asker.clock.at += 60
        volume_id = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))
        image_ids.append(await asker.exported(f"i{number}", volume_id=volume_id))
    return image_ids


async def test_an_image_is_shown_as_glance_shows_it(asker: Asker) -> None:
    image_id = await asker.exported("img")
    path = f"/v2/images/{image_id}"
    queued = (await asker.get(f"{IMAGES}/{image_id}")).json
    assert (queued["status"], queued["size"], queued["checksum"]) == ("queued", None, None)
    assert (queued["self"], queued["file"], queued["name"]) == (path, f"{path}/file", "img")
    asker.clock.at += 60
    active = (await asker.get(f"{IMAGES}/{image_id}")).json
    assert active["status"] == "active"
    assert active["size"] == active["virtual_size"] >= 10 * 2**30
    assert (active["created_at"], len(active["checksum"])) == ("2027-01-15T08:00:00Z", 32)
    assert active["created_at"] < active["updated_at"] <= "2027-01-15T08:01:00Z"


async def test_a_compressed_image_is_smaller_than_its_volume(asker: Asker) -> None:
    image_id = await asker.exported(disk_format="qcow2")
    asker.clock.at += 60
    image = (await asker.get(f"{IMAGES}/{image_id}")).json
    assert image["size"] < image["virtual_size"]


@pytest.mark.parametrize(
    ("method", "message"),
    [("GET", "No image found with ID nope"), ("DELETE", "Failed to find image nope to delete")],
)
async def test_an_unknown_image_is_not_found_in_text_or_json(asker: Asker, method: str, message: str) -> None:
    plain = await asker.ask(method, f"{IMAGES}/nope")
    assert (plain.status, plain.text) == (404, f"404 Not Found\n\n{message}\n\n   ")
    json = await asker.ask(method, f"{IMAGES}/nope", headers=JSON)
    assert json.json == {
        "message": f"{message}<br /><br />\n\n\n",
        "code": "404 Not Found",
        "title": "Not Found",
    }


async def test_a_deleted_image_is_gone(asker: Asker) -> None:
    image_id = await asker.exported()
    asker.clock.at += 60
    assert (await asker.ask("DELETE", f"{IMAGES}/{image_id}")).status == 204
    assert (await asker.get(f"{IMAGES}/{image_id}")).status == 404
    assert await listed(asker, "") == []


async def test_deleting_an_image_under_way_sets_its_volume_free(asker: Asker) -> None:
    image_id = await asker.exported()
    assert (await asker.ask("DELETE", f"{IMAGES}/{image_id}")).status == 204
    shown = (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]
    assert shown["status"] == "uploading"
    asker.clock.at += 2
    shown = (await asker.get(f"{V3}/volumes/{VOLUME}")).json["volume"]
    assert shown["status"] == "available"


async def test_a_protected_image_is_not_deleted(asker: Asker) -> None:
    image_id = await asker.exported(protected=True)
    assert (await asker.ask("DELETE", f"{IMAGES}/{image_id}")).status == 403
    assert (await asker.get(f"{IMAGES}/{image_id}")).status == 200


async def test_a_page_holds_25_images_unless_another_size_is_asked_for(asker: Asker) -> None:
    await with_images(asker, 27)
    assert len(await listed(asker, "")) == 25
    assert len(await listed(asker, "limit=26")) == 26
    assert await listed(asker, "limit=0") == []


@pytest.mark.parametrize(
    "order", ["sort=created_at:asc", "sort=created_at", "sort=name:asc", "sort=updated_at:desc"]
)
async def test_pages_lead_to_each_other_and_leave_nothing_out(order: str) -> None:
    async with asking(SandboxSettings(page_limit=2)) as asker:
        await with_images(asker, 5)
        path, seen = f"/v2/images?limit=1000&{order}", []
        while path:
            page = (await asker.get(f"/image{path}")).json
            seen += [image["name"] for image in page["images"]]
            path = page.get("next")
        names = [f"i{number}" for number in range(5)]
        assert seen == (names if "asc" in order else names[::-1])
        assert page["first"] == f"/v2/images?limit=1000&{order.replace(':', '%3A')}"


async def test_a_marker_that_no_longer_matches_still_marks_its_place(asker: Asker) -> None:
    image_ids = [
        await asker.exported(f"i{n}", volume_id=volume) for n, volume in enumerate((VOLUME, OTHER_VOLUME))
    ]
    query = f"status=queued&marker={image_ids[0]}"
    assert await listed(asker, f"{query}&sort=name:asc") == ["i1"]
    await asker.ask("DELETE", f"{IMAGES}/{image_ids[1]}")
    asker.clock.at += 60
    assert await listed(asker, f"{query}&sort=name:asc") == []
    assert await listed(asker, f"{query}&sort=created_at:asc") == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=i1", ["i1"]),
        ("name=in:i1,i3", ["i3", "i1"]),
        ('name=in:"i1","i 3"', ["i1"]),
        ("name=in:", []),
        ("status=queued", ["i3"]),
        ("status=in:queued,saving", ["i3"]),
        ("status=active", ["i2", "i1", "i0"]),
        ("disk_format=raw&container_format=in:ovf,bare&limit=1", ["i3"]),
        ("visibility=private&limit=1", ["i3"]),
        ("visibility=shared", []),
        ("visibility=all&limit=1", ["i3"]),
        ("owner=another", []),
        ("protected=true", []),
        ("protected=False&limit=1", ["i3"]),
        ("os_hidden=true", []),
        ("os_hidden=false&limit=1", ["i3"]),
        ("tag=x", []),
        ("size_min=1&sort=name:asc&limit=1", ["i0"]),
        ("size_max=1", []),
        ("__os_type=linux", []),
        ("min_ram=0&limit=1", ["i3"]),
        ("member_status=all&limit=1", ["i3"]),
        ("sort_key=name&sort_dir=asc&limit=2", ["i0", "i1"]),
        ("sort_key=status&sort_key=name&sort_dir=asc", ["i2", "i1", "i0", "i3"]),
        ("sort=size:asc,id&limit=1", ["i3"]),
        ("sort=disk_format,container_format,name:asc&limit=1", ["i0"]),
    ],
)
async def test_a_list_is_filtered_and_sorted(asker: Asker, query: str, expected: list[str]) -> None:
    await with_images(asker, 4)
    assert await listed(asker, query) == expected


async def test_images_are_found_by_their_ids(asker: Asker) -> None:
    image_ids = await with_images(asker, 3)
    assert await listed(asker, f"id=in:{image_ids[0]},{image_ids[2]},nope") == ["i2", "i0"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("gt:2027-01-15T08:02:00Z", ["i2"]),
        ("gte:2027-01-15T08:02:00Z", ["i2", "i1"]),
        ("gte:2027-01-15T08:02:00.400000", ["i2"]),
        ("lt:2027-01-15T08:02:00Z", ["i0"]),
        ("lte:2027-01-15T09:02:00+01:00", ["i1", "i0"]),
        ("eq:2027-01-15T08:02:00Z", ["i1"]),
        ("neq:2027-01-15T08:02:00Z", ["i2", "i0"]),
        ("2027-01-15T08:02:00Z", ["i1"]),
    ],
)
async def test_times_are_compared_in_whole_seconds(asker: Asker, condition: str, expected: list[str]) -> None:
    asker.clock.at += 0.5
    await with_images(asker, 3)
    assert await listed(asker, f"created_at={quote(condition)}") == expected


async def test_an_image_is_found_by_the_time_of_its_last_change(asker: Asker) -> None:
    await with_images(asker, 2)
    asker.clock.at += 60
    since = "2027-01-15T08:02:00Z"
    assert await listed(asker, f"updated_at=gte:{since}&sort=updated_at:asc") == ["i1"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=-1", "limit param must be positive"),
        ("limit=abc", "limit param must be an integer"),
        ("marker=nope", "No image found with ID nope"),
        (
            "sort=nope:asc",
            "Invalid sort key: nope. It must be one of the following: "
            "name, status, container_format, disk_format, size, id, created_at, updated_at.",
        ),
        ("sort=name:up", "Invalid sort direction: up"),
        ("sort_key=name&sort_dir=up", "Invalid sort direction: up"),
        ("sort=name:asc&sort_key=id", "Old and new sorting syntax cannot be combined"),
        ("created_at=gte:nope", 'Bad "created_at" query filter format. Use ISO 8601 DateTime notation.'),
        ("updated_at=foo:2026-01-01T00:00:00Z", "Unable to filter on a unknown operator."),
        ("visibility=nope", "Invalid visibility value: nope"),
        ("protected=foo", "Invalid value 'foo' for 'protected' filter. Valid values are 'true' or 'false'."),
        ("size_min=a", "Unable to filter on a range with a non-numeric value."),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(asker: Asker, query: str, message: str) -> None:
    answer = await asker.get(f"{IMAGES}?{query}")
    assert (answer.status, answer.text) == (400, f"400 Bad Request\n\n{message}\n\n   ")


@pytest.mark.parametrize("name", ["image", "images"])
async def test_the_schemas_are_told(asker: Asker, name: str) -> None:
    schema = (await asker.get(f"/image/v2/schemas/{name}")).json
    assert schema["name"] == name
    assert {link["rel"] for link in schema["links"]} >= {"describedby"}

from __future__ import annotations

from typing import Any

import pytest

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.image import ImageService
from batchexport.dialect import CINDER, EVS, Dialect
from batchexport.errors import AuthenticationError, TransientError
from batchexport.model import Image, ImageDetails, ImageQuota
from tests.cloud.conftest import Bench
from tests.cloud.scripted import Reply

RECORD = {
    "id": "i1",
    "name": "img",
    "status": "ACTIVE",
    "created_at": "2026-11-23T08:00:47Z",
    "updated_at": "2026-11-23T08:00:48Z",
    "size": 1024,
    "tags": [],
}
MOMENT = 1_795_420_847.0


def images(bench: Bench, project_id: str | None = "p1", dialect: Dialect = CINDER) -> ImageService:
    return ImageService(bench.session, bench.endpoint, dialect, project_id=project_id)


def page(*names: str, following: str | None = None) -> Reply:
    listed = [RECORD | {"id": f"i-{number}", "name": name} for number, name in enumerate(names)]
    return Reply(200, {"images": listed, "next": following})


async def test_an_image_is_read_in_our_words(bench: Bench) -> None:
    bench.server.answers(Reply(200, RECORD))
    assert await images(bench).get_image("i1") == Image(
        image_id="i1",
        name="img",
        status="active",
        created_at=MOMENT,
        updated_at=MOMENT + 1,
        size_bytes=1024,
        details=ImageDetails(),
    )


async def test_an_image_the_cloud_does_not_know_is_none(bench: Bench) -> None:
    bench.server.answers(Reply(404, {"message": "No image found<br />", "code": "404 Not Found"}))
    assert await images(bench).get_image("i1") is None


async def test_a_queued_image_has_no_size_yet(bench: Bench) -> None:
    bench.server.answers(Reply(200, {"id": "i1", "name": None, "status": "queued", "size": None}))
    assert await images(bench).get_image("i1") == Image(
        image_id="i1", name="", status="queued", details=ImageDetails()
    )


async def test_the_size_of_ims_is_in_another_field(bench: Bench) -> None:
    bench.server.answers(Reply(200, RECORD | {"size": 0, "__image_size": "2048"}))
    found = await images(bench).get_image("i1")
    assert found is not None and found.size_bytes == 2048


async def test_a_size_of_0_is_one_unless_ims_says_it(bench: Bench) -> None:
    bench.server.answers(
        Reply(200, RECORD | {"size": 0}), Reply(200, RECORD | {"size": 0, "__imagetype": "private"})
    )
    found = [await images(bench).get_image("i1") for _ in range(2)]
    assert [each and each.size_bytes for each in found] == [0, None]


async def test_images_of_a_name_are_of_exactly_this_name(bench: Bench) -> None:
    bench.server.answers(page("a b", "a b c", following="/v2/images?marker=x"), page("a b"))
    assert len(await images(bench).images_named("a b")) == 2
    assert bench.server.seen[0].path == "/v3/p1/images?owner=p1&name=a%20b&limit=1000"


@pytest.mark.parametrize(
    ("name", "asked"),
    [("磁盘&x=1", "磁盘&x=1"), ("in:a,b", 'in:"in:a,b"'), ('in:"\\', 'in:"in:\\"\\\\"')],
)
async def test_a_name_is_asked_for_as_it_is(bench: Bench, name: str, asked: str) -> None:
    bench.server.answers(page(name))
    assert len(await images(bench).images_named(name)) == 1
    assert bench.server.seen[0].query["name"] == asked


LISTS = [
    ({}, "owner=p1&sort=updated_at:asc&limit=1000"),
    ({"status": "queued"}, "owner=p1&status=queued&sort=updated_at:asc&limit=1000"),
    (
        {"updated_since": MOMENT + 0.9},
        "owner=p1&updated_at=gte:2026-11-23T08:00:47Z&sort=updated_at:asc&limit=1000",
    ),
    (
        {"created_since": MOMENT},
        "owner=p1&created_at=gte:2026-11-23T08:00:47Z&sort=created_at:asc&limit=1000",
    ),
]


@pytest.mark.parametrize(("bounds", "query"), LISTS)
async def test_lists_are_sorted_so_that_paging_misses_nothing(
    bench: Bench, bounds: dict[str, Any], query: str
) -> None:
    bench.server.answers(page())
    assert [each async for each in images(bench).images(**bounds)] == []
    assert bench.server.seen[0].path == f"/v3/p1/images?{query}"


async def test_without_a_project_no_owner_is_named(bench: Bench) -> None:
    bench.server.answers(page())
    assert [each async for each in images(bench, None).images()] == []
    assert "owner" not in bench.server.seen[0].query


async def test_pages_of_images_follow_the_last_id(bench: Bench) -> None:
    bench.server.answers(page("a", "b", following="/v2/images?marker=i-1-b"), page("c"))
    assert [[image.name for image in each] async for each in images(bench).images()] == [["a", "b"], ["c"]]
    assert bench.server.seen[1].query["marker"] == "i-1"


async def test_images_of_another_status_are_left_out(bench: Bench) -> None:
    bench.server.answers(page("a"))
    assert [list(each) async for each in images(bench).images(status="queued")] == [[]]


async def test_an_image_tells_what_it_holds(bench: Bench) -> None:
    told = {
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": "10",
        "virtual_size": 2048,
        "os_hash_algo": "sha512",
        "os_hash_value": "00ff",
    }
    bench.server.answers(Reply(200, RECORD | told))
    found = await images(bench).get_image("i1")
    assert found is not None and found.details == ImageDetails("qcow2", "bare", 10, 2048, "sha512:00ff")


QUOTA = {"quotas": {"resources": [{"type": "other", "used": 1, "quota": 2, "min": 0, "max": 9}]}}
IMAGES = {"type": "image", "used": "19", "quota": "50", "min": "19", "max": "1000"}


@pytest.mark.parametrize(
    ("reply", "quota"),
    [
        (Reply(200, {"quotas": {"resources": [IMAGES]}}), ImageQuota(allowed=50, used=19)),
        (Reply(200, {"quotas": {"resources": [IMAGES | {"quota": -1}]}}), None),
        (Reply(200, QUOTA), None),
        (Reply(404, {"message": "no such path"}), None),
        (Reply(403, {"message": "no such right"}), None),
    ],
)
async def test_ims_tells_how_many_images_may_be_made(
    bench: Bench, reply: Reply, quota: ImageQuota | None
) -> None:
    bench.server.answers(reply)
    endpoint = Endpoint(url=f"{bench.server.url}/ims/v2", version="v2")
    service = ImageService(bench.session, endpoint, EVS, project_id="p1")
    assert await service.get_quota() == quota
    assert bench.server.seen[0].path == "/ims/v1/cloudimages/quota"


async def test_other_image_services_are_not_asked(bench: Bench) -> None:
    assert await images(bench).get_quota() is None
    assert bench.server.seen == []


async def test_a_quota_is_not_asked_for_without_a_sign_in(bench: Bench) -> None:
    bench.server.answers(Reply(401, {"error": {"message": "token expired", "code": 401}}))
    with pytest.raises(AuthenticationError):
        await images(bench, dialect=EVS).get_quota()


async def test_an_answer_about_another_image_is_none_about_this(bench: Bench) -> None:
    bench.server.answers(Reply(200, RECORD | {"id": "i2"}))
    with pytest.raises(TransientError, match="requested image i1, got another one"):
        await images(bench).get_image("i1")


@pytest.mark.parametrize("by", ["name", "list"])
async def test_images_of_other_projects_are_passed_over(bench: Bench, by: str) -> None:
    """A public one may have any name."""
    listed = [
        RECORD | {"id": "ours", "owner": "p1"},
        RECORD | {"id": "theirs", "owner": "p2"},
        RECORD | {"id": "untold"},
    ]
    bench.server.answers(Reply(200, {"images": listed}))
    if by == "name":
        found = list(await images(bench).images_named("img"))
    else:
        found = [image async for each in images(bench).images() for image in each]
    assert [image.image_id for image in found] == ["ours", "untold"]
    assert bench.server.seen[-1].query["owner"] == "p1"

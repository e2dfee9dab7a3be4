"""What every place has to keep: a folder, and a bucket of an S3 server that nobody here wrote."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from batchexport.errors import CloudError, ConfigError, NotFoundError, RefusedError
from batchexport.objects import Place, open_place, split_url
from batchexport.objects.place import safe_name
from batchexport.transfer import Bandwidth, OpenFrom, WrongDataError

DATA = random.Random(3).randbytes(20_000_001)
SHA512 = hashlib.sha512(DATA).hexdigest()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class Source:
    def __init__(self, data: bytes = DATA, *, breaks_at: int | None = None) -> None:
        self.data, self.breaks_at = data, breaks_at
        self.fetched: list[int] = []

    @asynccontextmanager
    async def __call__(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        self.fetched.append(offset)
        yield self._pieces(offset)

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        while offset < len(self.data):
            if self.breaks_at is not None and offset >= self.breaks_at:
                raise NotFoundError("the image is gone")
            yield self.data[offset : offset + 300_000]
            offset += 300_000


async def save(
    place: Place, source: OpenFrom, name: str = "a.qcow2", size: int = len(DATA), wanted: str = SHA512
) -> None:
    hashes = await place.save(
        name,
        source,
        size=size,
        expected={"sha512": wanted},
        key="run-1",
        bandwidth=Bandwidth(),
        on_bytes=lambda _: None,
    )
    assert hashes["sha512"] == wanted


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer  # takes a second: only where a bucket is asked for

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            patch.setenv(name, value)
        request = urllib.request.Request(f"{url}/backups", method="PUT")
        urllib.request.urlopen(request).close()
        yield url
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "folder":
        url = (tmp_path / "backups" / "here").as_uri()
    else:
        request.getfixturevalue("s3")
        url = f"s3://backups/{tmp_path.name}/"
    async with open_place(url) as opened:
        yield opened


async def test_what_is_saved_can_be_read_from_any_byte(place: Place) -> None:
    assert await place.size_of("a.qcow2") is None
    await save(place, Source())
    assert await place.size_of("a.qcow2") == len(DATA)
    for offset in (0, 12_345_678):
        async with place.open_from("a.qcow2")(offset) as pieces:
            assert b"".join([piece async for piece in pieces]) == DATA[offset:]


async def test_a_wrong_byte_is_found_and_nothing_is_kept(place: Place) -> None:
    spoilt = DATA[:9_000_000] + b"\0" + DATA[9_000_001:]
    assert spoilt != DATA
    with pytest.raises(WrongDataError, match="sha512"):
        await save(place, Source(spoilt))
    assert await place.size_of("a.qcow2") is None
    await save(place, Source())


async def test_a_source_that_ends_for_good_leaves_nothing_under_the_name(place: Place) -> None:
    with pytest.raises(NotFoundError, match="the image is gone"):
        await save(place, Source(breaks_at=9_000_000))
    assert await place.size_of("a.qcow2") is None


async def test_small_files_replace_one_another(place: Place) -> None:
    assert await place.read("m.json") is None
    await place.write("m.json", b"one")
    await place.write("m.json", b"two")
    assert await place.read("m.json") == b"two"


async def test_a_file_that_is_not_there_says_so(place: Place) -> None:
    with pytest.raises(NotFoundError):
        async with place.open_from("missing")(0) as pieces:
            await anext(pieces)


async def test_a_place_says_that_it_is_fit(place: Place) -> None:
    assert await place.check(1000) is None


async def test_a_folder_goes_on_with_what_an_earlier_try_left(tmp_path: Path) -> None:
    async with open_place(str(tmp_path)) as place:
        with pytest.raises(NotFoundError):
            await save(place, Source(breaks_at=9_000_000))
        (half,) = files(tmp_path)
        assert half.name.startswith(".")
        held = half.stat().st_size
        assert held > 7_000_000
        source = Source()
        await save(place, source)
        assert source.fetched == [held]
    assert [each.name for each in files(tmp_path)] == ["a.qcow2"]


async def test_what_the_disk_lost_of_an_earlier_try_is_found(tmp_path: Path) -> None:
    async with open_place(str(tmp_path)) as place:
        with pytest.raises(NotFoundError):
            await save(place, Source(breaks_at=9_000_000))
        (half,) = files(tmp_path)
        with half.open("r+b") as file:
            file.seek(5_000_000)
            file.write(bytes(4096))
        with pytest.raises(WrongDataError):
            await save(place, Source())
        await save(place, Source())
    assert (tmp_path / "a.qcow2").read_bytes() == DATA


async def test_a_folder_says_when_it_has_not_the_room(tmp_path: Path) -> None:
    async with open_place(str(tmp_path)) as place:
        words = await place.check(2**60)
        assert words is not None
        assert "bytes left" in words


async def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with open_place(str(tmp_path / "file" / "below")) as place:
        assert await place.check(1) is not None
        with pytest.raises(RefusedError, match=r"Not a directory|File exists"):
            await save(place, Source())


async def test_a_link_in_the_place_of_what_is_begun_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / ".a.qcow2.run-1.partial").symlink_to(victim)
    async with open_place(str(folder)) as place:
        with pytest.raises(RefusedError):
            await save(place, Source())
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("wrong", ["secret", "bucket"])
async def test_an_object_store_that_refuses_says_why(s3: str, wrong: str, tmp_path: Path) -> None:
    async with open_place("s3://no-such-bucket/x/") as place:
        with pytest.raises(CloudError, match="no-such-bucket"):
            await save(place, Source(DATA[:1000]), size=1000, wanted=hashlib.sha512(DATA[:1000]).hexdigest())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/x", "no place for files"),
        ("file://host/x", "three slashes"),
        ("s3:///x", "no bucket"),
    ],
)
def test_what_is_no_place_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_place(url)


@pytest.mark.parametrize(
    ("text", "name"),
    [("../../etc/passwd", "_.._etc_passwd"), ("a b/ü", "a_b_"), ("", "image"), (".hidden", "hidden")],
)
def test_a_name_is_safe(text: str, name: str) -> None:
    assert safe_name(text) == name
    assert os.sep not in safe_name(text)


def test_a_url_is_split_at_its_last_slash() -> None:
    assert split_url("s3://b/x/a.json") == ("s3://b/x/", "a.json")
    assert split_url("a.json") == ("./", "a.json")
    with pytest.raises(ConfigError, match="names no file"):
        split_url("s3://b/x/")


async def test_what_broke_off_leaves_no_parts_behind_in_the_bucket(s3: str, tmp_path: Path) -> None:
    async with open_place(f"s3://backups/{tmp_path.name}/") as place:
        with pytest.raises(NotFoundError):
            await save(place, Source(breaks_at=19_000_000))
    assert tmp_path.name not in await asyncio.to_thread(listed, f"{s3}/backups?uploads")


async def test_after_a_kill_in_the_middle_nothing_stands_there_and_the_object_is_begun_again(
    s3: str, tmp_path: Path
) -> None:
    url = f"s3://backups/{tmp_path.name}/"
    script = Path(__file__).with_name("saving.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"waits\n"
    process.kill()
    await process.wait()
    async with open_place(url) as place:
        assert await place.size_of("a.qcow2") is None
        source = Source()
        await save(place, source)
        assert source.fetched == [0]
        assert await place.size_of("a.qcow2") == len(DATA)


def listed(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        text: str = answer.read().decode()
    return text

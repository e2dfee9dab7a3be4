"""A cloud that answers garbage once: the command ends soon, in words, and no volume is exported twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.engine import send_failures
from batchexport.report.rows import table_lines
from batchexport.retry import Backoff
from batchexport.store import StateReader
from tests.attack.cloud import Cloud, Reply, cloud
from tests.attack.program import DOCUMENTED, QUICK, Ended, Inside, environment, write_list

pytestmark = pytest.mark.timeout(30)

JSON = {"Content-Type": "application/json"}
DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000
#: What stands where a JSON object of some other shape should.
BODIES = {
    "nothing": b"",
    "null": b"null",
    "an array": b"[]",
    "a number": b"5",
    "a text": b'"x"',
    "an empty object": b"{}",
    "HTML": b"<html><body>welcome to the hotel</body></html>",
    "half a JSON": b'{"volumes": [{"id": "5',
    "no UTF-8": b'{"volumes": "\xff\xfe"}',
    "a lone surrogate": b'{"volumes": [{"id": "\\ud800"}]}',
    "depth": DEEP,
    "blanks": b" " * 500_000,
}
RAW = {
    "a cut": b"",
    "half a body": b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"tok',
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    "a length in words": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a false gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x16",
    "only 1xx": b"HTTP/1.1 102 Processing\r\n\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
}
STATUSES = (204, 206, 301, 304, 400, 403, 404, 409, 410, 413, 418, 500, 501, 502, 503, 504, 599)

COMMON: dict[str, Reply | bytes] = {
    **{f"200 with {name}": Reply(200, body, JSON) for name, body in BODIES.items()},
    **{f"400 with {name}": Reply(400, body, JSON) for name, body in BODIES.items()},
    **{f"status {status}": Reply(status, b'{"error": {"message": "m"}}', JSON) for status in STATUSES},
    **RAW,
    "a redirect to nowhere": Reply(302, b"", {"Location": "http://127.0.0.1:9/"}),
    "a redirect to itself": Reply(307, b"", {"Location": "/identity/v3"}),
}
SIGN_IN = {
    **COMMON,
    "a null token": Reply(201, b'{"token": null}', JSON | {"X-Subject-Token": "t"}),
    "no header": Reply(201, b'{"token": {"methods": [], "project": {"id": "p", "name": "p"}}}', JSON),
    "a null catalog": Reply(201, b'{"token": {"catalog": null}}', JSON | {"X-Subject-Token": "t"}),
    "a text as catalog": Reply(201, b'{"token": {"catalog": "all"}}', JSON | {"X-Subject-Token": "t"}),
    "null versions": Reply(200, b'{"versions": {"values": null}}', JSON),
    "a null version": Reply(200, b'{"version": null}', JSON),
    "times in words": Reply(
        201,
        b'{"token": {"project": {"id": "p", "name": "demo"}, "expires_at": "soon", "issued_at": 5}}',
        JSON | {"X-Subject-Token": "t"},
    ),
}


def exported(**changes: object) -> Reply:
    record = {"id": "v", "image_id": "c5333daa-fbc8-4d1d-bf79-b0567bb45d15", "status": "uploading", "size": 4}
    return Reply(202, json.dumps({"os-volume_upload_image": {**record, **changes}}), JSON)


def refused(message: object) -> Reply:
    return Reply(400, json.dumps({"badRequest": {"message": message, "code": 400}}), JSON)


EXPORT = {
    **{f"202 with {name}": Reply(202, body, JSON) for name, body in BODIES.items()},
    **{name: lie for name, lie in COMMON.items() if not name.startswith("200")},
    "a size beyond 64 bits": exported(size=10**30),
    "a negative size": exported(size=-5),
    "a size in words": exported(size="much"),
    "an image id that is a number": exported(image_id=5),
    "a null image id": exported(image_id=None),
    "an image id with a zero": exported(image_id="a\0b"),
    "an image id that is a path": exported(image_id="../../volumes"),
    "a reason that is a list": refused(["no"]),
    "a wait without end": Reply(429, b"", {"Retry-After": "1e400"}),
    "a date of 9999": Reply(503, b"", {"Date": "Fri, 31 Dec 9999 23:59:59 GMT"}),
}


HUGE = {"id": "5", "status": "active", "size": 10**30}


def listed(kind: str, *records: object) -> Reply:
    return Reply(200, json.dumps({kind: records}), JSON)


LISTS = {
    **{name: COMMON[name] for name in COMMON if not name.startswith(("400", "status"))},
    "null": Reply(200, b'{"volumes": null, "images": null}', JSON),
    "a null record": Reply(200, b'{"volumes": [null], "images": [null]}', JSON),
    "a size beyond 64 bits": Reply(
        200,
        json.dumps({"volumes": [HUGE], "images": [HUGE]}),
        JSON,
    ),
    "times of another age": listed(
        "images", {"id": "i", "status": "active", "updated_at": "9999-12-31T23:59:59Z"}
    ),
    "times in words": listed("images", {"id": "i", "status": "active", "updated_at": "yesterday"}),
}
CASES = [
    *(("version", name, SIGN_IN[name]) for name in SIGN_IN if not name.startswith(("400", "status"))),
    *(("token", name, SIGN_IN[name]) for name in SIGN_IN),
    *(("export", name, EXPORT[name]) for name in EXPORT),
    *(("volumes", name, LISTS[name]) for name in LISTS),
    *(("images", name, LISTS[name]) for name in LISTS if name not in RAW),
]
#: How often in one run: sign-in is tried again by the library, and asks for versions in several ways.
TIMES = {"version": 9, "token": 9}


@pytest.fixture(autouse=True)
def soon_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is forbidden waits for others, which there are none of here."""
    monkeypatch.setattr(send_failures, "WITNESS_S", 0.2)


@pytest.fixture(scope="module")
def liar() -> Iterator[Cloud]:
    with cloud() as one:
        yield one


@pytest.fixture
def inside(liar: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """A folder that leads to the liar, and no waits between tries."""
    (tmp_path / "clouds.yaml").write_text(liar.clouds_yaml())
    monkeypatch.setattr(Backoff, "delay_s", lambda *_, **__: 0.01)
    return Inside(folder=tmp_path, env=environment(tmp_path, OS_CLOUD="one"))


def run(inside: Inside) -> Ended:
    return inside.run("run", "v.csv", *QUICK, "--poll-interval", "0.05s", "--retries", "0")


@pytest.mark.parametrize(
    ("kind", "lie"), [case[::2] for case in CASES], ids=[f"{kind}: {name}" for kind, name, _ in CASES]
)
def test_one_lie_ends_in_words_and_makes_no_second_image(
    liar: Cloud, inside: Inside, kind: str, lie: Reply | bytes
) -> None:
    volume = f"00000000-0000-4000-8000-{time.monotonic_ns() % 2**48:012x}"
    write_list(inside.folder / "v.csv", [volume])
    left = TIMES.get(kind, 1)

    def tell(asked: str, _: str) -> Reply | bytes | None:
        nonlocal left
        left -= asked == kind
        return lie if asked == kind and left >= 0 else None

    liar.lie = tell
    began = time.monotonic()
    ended = run(inside)
    ended.check(ended.code)
    assert ended.code in DOCUMENTED, ended
    assert time.monotonic() - began < 10
    assert liar.exports.get(volume, 0) <= 1


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "bell\x07", "zero\0", "\u202eright to left"], ids=ascii)
def test_words_of_the_cloud_cannot_steer_the_terminal(liar: Cloud, inside: Inside, text: str) -> None:
    write_list(inside.folder / "v.csv", 1)
    liar.lie = lambda kind, _: refused(text) if kind == "export" else None
    run(inside).check(3)
    # Off a terminal Click takes the colours out, so the table is made here as a terminal would get it.
    with StateReader(inside.folder / "v.state") as reader:
        report = "".join(table_lines(reader, reader.jobs(), now=0.0, width=None))
    assert not {"\x1b", "\x07", "\0", "\u202e"} & set(report)

"""Lists, job files and state files that are broken: refused in words, at once, and left as they are."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import asdict

from batchexport.model import NO_OPTIONS, ImageOptions, JobRow, TargetKey
from batchexport.store import RunRecord, building
from tests.attack.program import Ended, Inside, volume_ids, write_list

SEED = 20_260_401
RAW = ImageOptions(disk_format="raw")
Damage = Callable[[random.Random, bytes], bytes]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder without any cloud: what gets as far as signing in ends with 2 there."""
    monkeypatch.chdir(tmp_path)


def invoke(*words: str) -> Ended:
    return Inside(folder=Path.cwd(), env={"HOME": str(Path.cwd())}).run(*words)


def cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def flip(draw: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 3, 20))):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def noise(draw: random.Random, content: bytes) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + draw.randbytes(draw.randrange(1, 200)) + content[start + draw.randrange(200) :]


def double(draw: random.Random, content: bytes) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start // 2 :]


LISTS = {
    "csv": "\n".join(
        ["volume_id,image_name,disk_format", *(f"{one},a-{one[-4:]},raw" for one in volume_ids(9))]
    ),
    "json": json.dumps([{"volume_id": one, "force": True} for one in volume_ids(9)]),
    "jsonl": "\n".join(f'{{"volume_id": "{one}", "timeout": "9h"}}' for one in volume_ids(9)),
}
JOB_FILE = """[job]
list = "v.csv"
[cloud]
name = "prod"
[limits]
requests_per_second = 4.5
max_exports = 8
poll_interval = "5m"
max_failures = "5%"
[image]
disk_format = "raw"
[servers]
in_use = "skip"
"""


@pytest.mark.parametrize("damage", [cut, flip, noise, double], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("form", LISTS)
def test_a_broken_list_is_read_or_refused_with_2(form: str, damage: Damage) -> None:
    draw = random.Random(f"{SEED}{form}{damage.__name__}")
    for _ in range(10):
        Path("v.list").write_bytes(damage(draw, LISTS[form].encode()))
        ended = invoke("validate", "v.list")
        ended.check(ended.code)
        assert ended.code in (0, 2)


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"\0",
            b"\xef\xbb\xbf",
            b"\xff\xfev\0o\0l\0",
            b"\n" * 5000,
            b"volume_id",
            b"volume_id\n,,,,\n",
        ),
        *(
            b"[" * 100_000,
            b'{"jobs":' * 9000,
            b"null",
            b"5",
            b'"x"',
            b"[null]",
            b"[[]]",
            b"{}",
            b'{"jobs": 5}',
        ),
        *(
            b"[" + b"9" * 5000 + b"]",
            b'[{"volume_id": 5}]',
            b'[{"volume_id": "\\ud800"}]',
            b"\x1f\x8b\x08\0\0",
        ),
        *(b"PK\x03\x04" + b"\0" * 90, b"a" * 3_000_000, b'volume_id\n"' + b"x\n" * 9, b"SQLite format 3\0"),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_is_no_list_is_refused_with_2(content: bytes) -> None:
    Path("v.list").write_bytes(content)
    invoke("run", "v.list", "--state", "v.state").check(2)
    assert not Path("v.state").exists()


@pytest.mark.parametrize("damage", [cut, flip, noise, double], ids=lambda damage: damage.__name__)
def test_a_broken_job_file_is_refused_with_2(damage: Damage) -> None:
    draw = random.Random(f"{SEED}{damage.__name__}")
    write_list(Path("v.csv"), 2)
    for _ in range(15):
        Path("night.toml").write_bytes(damage(draw, JOB_FILE.encode()))
        invoke("run", "night.toml").check(
            2
        )  # a good one ends with 2 as well: there is no cloud to sign in to
        Path("v.state").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "content",
    [
        *(
            "job = 5",
            "[job]\nlist = 5",
            "[job]\nlist = ''",
            "[[job]]\nlist = 'v.csv'",
            "job.list = ['v.csv']",
        ),
        *("[job]\nlist = 'v.csv'\nlist = 'w.csv'", "[job]\nlist = '/'", "[job]\nlist = 'v.csv\\u0000'", "\0"),
        *("[job]\nlist = 'v.csv'\nstate = '/proc/nothing/v.state'", '[job]\nlist = "v.csv\\u0000"'),
        *(f"[job]\nlist = 'v.csv'\n[limits]\n{line}" for line in ("retries = 1e99", "max_exports = -1")),
        *(
            f"[job]\nlist = 'v.csv'\n[limits]\n{line}"
            for line in ("max_failures = nan", "concurrency = true")
        ),
        *(
            f"[job]\nlist = 'v.csv'\n[limits]\n{line}"
            for line in ("poll_interval = 1979-05-27", "retries = {}")
        ),
        *(f"[job]\nlist = 'v.csv'\n[limits]\n{line}" for line in ("requests_per_second = inf", "odd = 1")),
        "a = " + "[" * 5000,
    ],
)
def test_a_job_file_with_nonsense_in_it_is_refused(content: str) -> None:
    write_list(Path("v.csv"), 1)
    Path("night.toml").write_text(content)
    ended = invoke("run", "night.toml")
    ended.check(ended.code)
    assert ended.code in (2, 74)
    assert not Path("v.state").exists() or "sign in" in ended.err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a state file, the same each time."""
    path = tmp_path_factory.mktemp("whole") / "v.state"
    settings = json.dumps({"image": asdict(NO_OPTIONS), "name_template": "{volume_id}"})
    with building(path) as build:
        for line, volume_id in enumerate(volume_ids(40), start=2):
            row = JobRow(line=line, volume_id=volume_id, image_name=None, target=TargetKey(), options=RAW)
            build.add(row, f"image-{line}")
        run = RunRecord(
            run_id="20270101-abcdef",
            created_at=1_700_000_000.5,
            list_name="v.csv",
            list_sha256="00ff",
            rows=40,
            settings=settings,
            version="0.1.0",
        )
        build.finish(run)
    return path.read_bytes()


COMMANDS = (("status",), ("report",), ("report", "-f", "csv"), ("resume", "--os-cloud", "no-such-cloud"))


def refused_untouched(content: bytes, *, codes: tuple[int, ...] = (5,)) -> None:
    """Each command on this file ends with one of the codes; where it was refused, the file is as before."""
    state = Path("damaged.state")
    for command, *words in COMMANDS:
        state.write_bytes(content)
        ended = invoke(command, str(state), *words)
        ended.check(ended.code)
        assert ended.code in codes, ended
        if ended.code == 5:
            assert state.read_bytes() == content, (command, words)
        for left in Path().glob("damaged.state-*"):
            left.unlink()


@pytest.mark.parametrize("damage", [cut, flip, noise, double], ids=lambda damage: damage.__name__)
def test_a_damaged_state_file_is_read_or_refused_with_5(whole: bytes, damage: Damage) -> None:
    draw = random.Random(f"{SEED}{damage.__name__}")
    for _ in range(20):
        refused_untouched(damage(draw, whole), codes=(0, 2, 5))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 4096, b"volume_id\n", b"SQLite format 3\0", b"SQLite format 3\0" + b"\xff" * 4096],
    ids=["empty", "zeros", "a list", "a head", "a head and noise"],
)
def test_a_file_that_is_no_state_file_is_refused_and_left_alone(content: bytes) -> None:
    refused_untouched(content)


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "other.db")
    db.executescript("CREATE TABLE run (run_id TEXT); CREATE TABLE job (x); INSERT INTO job VALUES (1)")
    db.close()
    refused_untouched((tmp_path / "other.db").read_bytes())


def test_a_state_file_of_a_newer_version_is_refused_and_left_alone(whole: bytes) -> None:
    newer = bytearray(whole)
    newer[60:64] = (999).to_bytes(4, "big")
    refused_untouched(bytes(newer))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE run SET settings = 'nonsense'",
        "UPDATE run SET settings = '{}'",
        "UPDATE run SET settings = '[5]'",
        "UPDATE job SET options = 'nonsense'",
        "UPDATE job SET options = '{\"force\": 5}'",
        "UPDATE job SET operation_id = 99999",
        "UPDATE job SET intent_at = 9e99, accepted_at = 9e99, deadline_at = 9e99",
        "UPDATE run SET created_at = 1e300",
        "DELETE FROM target",
        "DELETE FROM tally",
        "DELETE FROM run",
        "DROP TABLE attempt",
        "UPDATE tally SET jobs = -5 WHERE state = 'pending'",
    ],
)
def test_a_state_file_that_somebody_edited_is_read_or_refused_with_5(whole: bytes, change: str) -> None:
    edited = Path("edited.state")
    edited.write_bytes(whole)
    db = sqlite3.connect(edited, isolation_level=None)
    db.execute("PRAGMA foreign_keys=OFF")
    db.execute(change)
    db.close()
    refused_untouched(edited.read_bytes(), codes=(0, 2, 5))

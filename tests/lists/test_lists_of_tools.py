"""Lists as other tools write them: taken, or named with the way out; never half understood."""

from __future__ import annotations

import bz2
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.lists import JobList
from tests.lists.conftest import Reading

A = "16369c5d-384d-4e64-b37a-56d898769362"
B = "c5333daa-fbc8-4d1d-bf79-b0567bb45d15"
S = "7f0a3c52-6f0f-4a51-93c3-0d9c7f1e2b64"
API: list[dict[str, object]] = [
    {
        "id": volume_id,
        "name": name,
        "links": [],
        "status": "available",
        "attachments": [],
        "size": 40,
        "volume_type": "ssd",
        "metadata": {"a": "b"},
        "os-vol-host-attr:host": "h",
        "os-volume-replication:extended_status": None,
        "multiattach": False,
    }
    for volume_id, name in ((A, "db 1"), (B, "web"))
]
BORDER = f"+{'-' * 38}+{'-' * 11}+{'-' * 10}+\n"
TABLE = f"""\
{BORDER}| ID                                   | Status    | Name     |
{BORDER}| {A} | available | db 1     |
| {B} | in-use    | web      |
{BORDER}"""

TAKEN = {
    "ids alone": f"{A}\n{B}\n",
    "ids with names": f"{A} db 1\r\n{B} web\r\n",
    "the first without a name": f"{A} \n{B} web\n",
    "quoted ids": f'"{A}"\n"{B}"\n',
    "ids under a comment": f"# all of them\n\n{A}\n{B}\n",
    "table": TABLE,
    "table without borders": TABLE.replace(BORDER, ""),
    "table of MySQL": TABLE + "2 rows in set (0.00 sec)\n",
    "table in Markdown": f"| volume_id |\n|:---|\n| {A} |\n| {B} |\n",
    "attachments": f"| ID | DEVICE | SERVER ID | VOLUME ID |\n| {S} | vda | {S} | {A} |\n"
    f"| {S} | vdb | {S} | {B} |\n",
    "attachments in csv": f'"ID","Device","Server ID","Volume ID"\n"{S}","a","{S}","{A}"\n'
    f'"{S}","b","{S}","{B}"\n',
    "yaml of the client": f"- Attached to: []\n  ID: {A}\n  Name: ''\n  Size: 3\n- ID: {B}\n  Name: 12\n",
    "yaml by hand": f"---\n# night\n- volume_id: {A}\n  timeout: 90\n- {B}\n",
    "yaml under jobs": f"jobs:\n- volume_id: {A}\n- volume_id: {B}\n  force: yes\n",
    "answer of the API": json.dumps({"count": 2, "volumes": API}, indent=1),
    "answer of the API on one line": json.dumps({"volumes": API}),
    "array of the API": json.dumps(API),
    "result of Ansible": json.dumps({"changed": False, "failed": False, "volumes": API}),
    "ids in JSON": json.dumps([A, B]),
    "JSON Lines under a comment": f'# all\n{{"id":"{A}","name":"x"}}\n{{"id":"{B}","name":null}}\n',
    "name as a number": json.dumps([{"ID": A, "Name": 1234}, {"ID": B, "Name": "x"}]),
    "small letters": f"id,name,status\n{A},db 1,available\n{B},,in-use\n",
    "older client": f'"ID","Display Name","Status"\n"{A}","a","available"\n"{B}","","in-use"\n',
    "database": f"id\tdisplay_name\tproject_id\tvolume_type_id\n{A}\tx\t{S}\t{S}\n{B}\tNULL\t{S}\tNULL\n",
    "cinder's columns": f"ID,Tenant ID,Migration Status,Volume Type,Multiattach\n{A},t,-,s,False\n"
    f"{B},t,-,s,False\n",
    "console": f"\ufeffDisk Name,Disk ID,Status,Disk Specifications,AZ\r\na,{A},x,y,z\r\nb,{B},x,y,z\r\n",
    "separator line": f"sep=;\r\nvolume_id;image_name\r\n{A};a,b\r\n{B};\r\n",
    "bars between": f"volume_id|image_name\n{A}|a\n{B}|b\n",
    "blanks before quotes": f'"volume_id", "image_name"\n"{A}", "a"\n"{B}", "b"\n',
    "two marks": f"\ufeff\ufeffvolume_id\n{A}\n{B}\n",
    "braces and urn": f"volume_id\n{{{A}}}\nurn:uuid:{B}\n",
    "an apostrophe": f"volume_id\n'{A}\n'{B}\n",
    "an indented comment": f"volume_id\n{A}\n  # {A}\n{B}\n",
    "UTF-16": f"volume_id\timage_name\r\n{A}\tBüro\r\n{B}\tb\r\n".encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + json.dumps([A, B]).encode("utf-16-be"),
    "report in JSON": json.dumps({"run": {}, "totals": {}, "servers_down": [], "jobs": [A, B]}),
}
NAMED = {
    "several values": (f"{A} db-1 available 40 []\n", "-f value` with several columns", "-f csv"),
    "id and status": (f"{A} in-use\n", "-f value` with several columns", "-f csv"),
    "shell": (f'attachments="[]"\nid="{A}"\n', "`openstack … -f shell`", "-f csv"),
    "html": ("<!doctype html>\n<table></table>", "is HTML or XML", "CSV UTF-8"),
    "job file": ('[job]\nlist = "v.csv"\n', "is a job file in TOML", ".toml"),
    "state file": (b"SQLite format 3\0" + b"\0" * 84, "is a state file, not a list", "batchexport resume"),
    "terraform state": ('{\n"version": 4,\n"terraform_version": "1.5"}', "is a Terraform state", "jq -r"),
    "terraform show": ('{"format_version":"1.0","values":{}}', "`terraform show -json`", "jq -r"),
    "bzip2": (bz2.compress(b"volume_id\n"), "is compressed with bzip2", "bunzip2 -c"),
    "xz": (lzma.compress(b"volume_id\n"), "is compressed with xz", "xz -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd\0\0", "is compressed with zstd", "zstd -dc"),
    "pdf": (b"%PDF-1.7\n", "is a PDF", "CSV UTF-8"),
    "UTF-32": ("volume_id\n".encode("utf-32"), "is encoded as UTF-32", "--encoding utf-32"),
    "UTF-16 without a mark": (
        f"volume_id\n{A}".encode("utf-16-le"),
        "UTF-16 without",
        "--encoding utf-16-le",
    ),
    "header of Excel": (
        f"volume_id,{'名称'}\n{A},x\n".encode("gb18030"),
        "line 1: is not UTF-8",
        "--encoding",
    ),
    "console in Chinese": (f"名称/ID,状态\nevs-0/{A},可用\n", "no such column; rename", "volume_id"),
    "csv without a header": (f"{A},db,raw\n", "is already a row", "volume_id,…"),
    "quote none": (f"ID,Name\n{A},a\\,b\n", "has 3 cells where the header has 2", "--quote none"),
    "one page of several": (
        json.dumps({"count": 3, "volumes": API}),
        "2 volumes of 3",
        "batchexport discover",
    ),
    "a link to the next page": (
        json.dumps({"volumes": API, "volumes_links": [{"rel": "next", "href": "x"}]}),
        "one page of the answer",
        "batchexport discover",
    ),
    "our key beside volumes": (
        json.dumps({"volumes": API, "cloud": "x"}),
        '"cloud" does not belong',
        "take it out",
    ),
    "objects one after the other": (
        f'{{\n"id":"{A}"\n}}\n{{\n"id":"{B}"\n}}\n',
        "one object after the other",
        "jq -c",
    ),
    "a key twice": (
        f'[{{"volume_id":"{A}","volume_id" :"{B}"}}]',
        '"volume_id" occurs twice',
        "keep one of the two",
    ),
    "rows twice": (f'{{"jobs":["{A}"],"jobs":["{B}"]}}', '"jobs" occurs twice', ""),
    "a key twice in the API's object": (
        f'[{{"volume_id":"{A}","os-volume_upload_image":{{"image_name":"a","image_name":"b"}}}}]',
        '"image_name" occurs twice',
        "",
    ),
    "a key twice in yaml": (f"- ID: {A}\n  ID: {B}\n", "line 2: ID occurs twice", ""),
    "yaml that refers": (f"- &a {A}\n- *a\n", "line 2: is an anchor or an alias", "write the value out"),
    "two documents": (f"- {A}\n---\n- {B}\n", "begins a second document", ""),
    "images": (
        f"ID,Name,Status\n{A},a,available\n{B},b,active\n",
        "line 3: belongs to an image or a server",
        "active",
    ),
    "servers": (
        json.dumps([{"ID": A, "Name": "a", "Status": "SHUTOFF"}]),
        "belongs to an image or a server",
        "shutoff",
    ),
    "broken yaml": (f"- {A}\n- [\n", "is not YAML", ""),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_a_tool_wrote_plainly_is_taken(read: Callable[..., Reading], kind: str) -> None:
    reading = read(TAKEN[kind])
    assert reading.told == []
    assert [row.volume_id for row in reading.rows] == [A, B]


@pytest.mark.parametrize("kind", NAMED)
def test_what_cannot_be_taken_is_named_once_with_the_way_out(read: Callable[..., Reading], kind: str) -> None:
    content, named, way_out = NAMED[kind]
    reading = read(content)
    (told,) = reading.told
    assert named in told
    assert way_out in told


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("ids with names", ["db 1", "web"]),
        ("the first without a name", ["", "web"]),
        ("table", ["db 1", "web"]),
        ("array of the API", ["db 1", "web"]),
        ("small letters", ["db 1", ""]),
        ("older client", ["a", ""]),
        ("console", ["a", "b"]),
        ("name as a number", ["1234", "x"]),
        ("yaml of the client", ["", "12"]),
    ],
)
def test_names_of_volumes_are_taken_with_them(
    read: Callable[..., Reading], kind: str, names: list[str]
) -> None:
    assert [row.volume_name for row in read(TAKEN[kind]).rows] == names


def test_what_tools_tell_is_known_in_their_lists_only(read: Callable[..., Reading]) -> None:
    for name in ("project_id", "volume_type", "description"):
        assert read(f"id,{name}\n{A},x\n").told == []
        (told,) = read(f"volume_id,{name}\n{A},x\n").told
        assert "is not known here" in told


@pytest.mark.parametrize("name", ["visiblity", "visibilty", "diskformat"])
def test_a_slip_of_the_pen_is_told_in_the_list_of_a_tool_too(read: Callable[..., Reading], name: str) -> None:
    (told,) = read(f"id,name,{name}\n{A},x,y\n").told
    assert "did you mean" in told


@pytest.mark.parametrize("name", ["Volume Type", "volume_type_id", "Flavor Name", "Image", "volumes"])
def test_no_other_thing_is_advised(read: Callable[..., Reading], name: str) -> None:
    assert "did you mean" not in read(f"volume_id,{name}\n{A},x\n").told[0]


def test_a_key_that_is_not_known_is_told_once_for_the_list(read: Callable[..., Reading]) -> None:
    reading = read(json.dumps([{"volume_id": A, "colour": 1}, {"volume_id": B, "colour": 2}]))
    (told,) = reading.told
    assert told.startswith('element 1: "colour" is not known here')


@pytest.mark.parametrize(
    ("encoding", "name"), [("gb18030", "财务"), ("cp1252", "Größe"), ("utf-16-le", "a"), ("utf-32", "b")]
)
def test_a_list_is_read_in_the_encoding_that_was_said(tmp_path: Path, encoding: str, name: str) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes(f"volume_id,image_name\n{A},{name}\n".encode(encoding))
    (row,) = JobList(path, encoding=encoding)
    assert (row.volume_id, row.image_name) == (A, name)


def test_a_list_that_is_not_in_the_encoding_that_was_said_is_refused(tmp_path: Path) -> None:
    from batchexport.errors import JobListError

    path = tmp_path / "v.csv"
    path.write_bytes(f"volume_id,image_name\n{A},".encode() + b"\xff\xff\n")
    with pytest.raises(JobListError, match="is not gb18030") as caught:
        list(JobList(path, encoding="gb18030"))
    assert "--encoding" in str(caught.value.hint)


def test_a_large_list_in_another_encoding_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    rows = "".join(f"{A},名{number}\n" for number in range(20_000))
    path.write_bytes(("volume_id,image_name\n" + rows).encode("utf-16"))
    assert len(list(JobList(path))) == 20_000

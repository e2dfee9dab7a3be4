"""The JSON Schema for editors says the same as the reader."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from batchexport.config import Limits
from batchexport.config.jobfile import read_job_file
from batchexport.config.outputs import FORMATS
from batchexport.dialect import ALLOWED
from batchexport.errors import ConfigError
from tests.config.test_jobfile import EVERYTHING

JOBS = Path(__file__).parents[2] / "jobs"
SCHEMA_TEXT = (JOBS / "job.schema.json").read_text(encoding="utf-8")
SCHEMA = json.loads(SCHEMA_TEXT)
NIGHTLY = (JOBS / "nightly.toml").read_text(encoding="utf-8")


def problems(text: str) -> list[str]:
    content = json.loads(json.dumps(tomllib.loads(text), default=str))
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(content)]


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_no_key_of_the_schema_is_there_twice() -> None:
    """`command` was, and the second one silently replaced the first."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), keys
        return dict(pairs)

    json.loads(SCHEMA_TEXT, object_pairs_hook=once)


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.toml")), ids=lambda path: path.name)
def test_the_sample_job_files_are_good(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8")) == []


def test_a_job_file_with_every_key_is_good() -> None:
    assert problems(EVERYTHING) == []


def test_a_discovered_list_is_good() -> None:
    assert (
        problems('[job]\n[discover]\nstatus = "available"\nmetadata = { tier = "gold" }\nmin_size = 1') == []
    )


def test_reports_and_notices_are_good() -> None:
    text = """
    [job]
    list = "a.csv"
    [report]
    folder = "reports"
    formats = ["html", "csv"]
    [notify]
    when = "failure"
    webhook = "${HOOK}"
    webhook_form = "teams"
    heartbeat = "https://beat.example/1"
    mail_server = "smtp+starttls://mail.example:587"
    mail_from = "a@b.example"
    mail_to = ["c@d.example"]
    mail_user = "a"
    mail_password = "${PASSWORD}"
    """
    assert problems(text) == []


@pytest.mark.parametrize(
    "change",
    [
        ('hours = "22:00-06:00"', 'hours = "22-6"'),
        ('time_zone = "Europe/Berlin"', "time_zone = 1"),
        ('days = "mon-fri"', "days = []"),
        ('days = "mon-fri"', 'days = ["moon"]'),
        ('blackout = ["2026-12-24..2027-01-01"]', 'blackout = ["Christmas"]'),
        ('grace = "1h"', 'grace = "1 hour"'),
        ('cron = "0 22 * * mon-fri"', 'cron = "0 22 * *"'),
        ("keep = 30", "keep = 0"),
        ('on_unfinished = "resume"', 'on_unfinished = "ask"'),
        ('state_dir = "nights"', 'state = "a.state"'),
        ('state_dir = "nights"', 'state_dir = "nights"\nstate = "a.state"'),
        ('max_failures = "10%"', 'max_failures = "many"'),
        ("max_exports = 40", "max_exports = 0"),
        ('disk_format = "zvhd2"', 'disk_format = "iso"'),
        ('in_use = "skip"', 'in_use = "ask"'),
        ('in_use = "skip"', 'in_use = "stop"\nhard_stop = "yes"'),
        ('in_use = "skip"', 'in_use = "stop"\nmax_down = 0'),
        ('in_use = "skip"', 'in_use = "stop"\nstop_timeout = "soon"'),
        ("[servers]", "[server]"),
        ('name = "production"', 'password = "no"'),
        ('list = "../samples/volumes.csv"', ""),
        ("[cloud]", "[discover]\n[cloud]"),
        ("keep = 30", "preflight = 1"),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses_too(tmp_path: Path, change: tuple[str, str]) -> None:
    assert change[0] in NIGHTLY
    text = NIGHTLY.replace(*change)
    (tmp_path / "job.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        read_job_file(tmp_path / "job.toml", allowed=ALLOWED)
    assert problems(text)


@pytest.mark.parametrize("name", ["disk_format", "container_format", "os_type", "visibility"])
def test_closed_sets_are_those_of_the_program(name: str) -> None:
    assert SCHEMA["properties"]["image"]["properties"][name]["enum"] == list(ALLOWED[name])


@pytest.mark.parametrize("name", ["requests_per_second", "max_exports", "concurrency", "retries"])
def test_defaults_are_those_of_the_program(name: str) -> None:
    assert SCHEMA["properties"]["limits"]["properties"][name]["default"] == getattr(Limits(), name)


def test_report_formats_are_those_of_the_program() -> None:
    assert SCHEMA["definitions"]["report_format"]["enum"] == list(FORMATS)


@pytest.mark.parametrize("table", SCHEMA["properties"])
def test_the_reader_knows_every_table_and_key_of_the_schema(tmp_path: Path, table: str) -> None:
    section = SCHEMA["properties"][table]
    head = f"[[{table}]]" if section["type"] == "array" else f"[{table}]"
    keys = section.get("items", section)["properties"]
    text = "\n".join([head, *(f"{key} = [[]]" for key in keys)])
    (tmp_path / "job.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_job_file(tmp_path / "job.toml")
    assert "unknown" not in str(caught.value)

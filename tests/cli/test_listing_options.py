"""`-f`, `-c` and `--sort-column` on every command that lists."""

import asyncio
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from click.testing import Result

from batchexport.cli.commands import Commands
from batchexport.cli.listing import FORMATS
from batchexport.cli.program import app
from tests.report.runs import make_run


@pytest.fixture
def state() -> str:
    asyncio.run(make_run(Path("n1.state"), 40, seed=1))
    return "n1.state"


#: Commands that list nothing: they check, act, or talk to one run.
OTHERS = {
    "check",
    "completion",
    "ctl",
    "deliver",
    "drain",
    "emit",
    "give-up",
    "init",
    "restore",
    "resume",
    "retry",
    "run",
    "sandbox",
    "schedule",
    "submit",
    "upgrade",
    "validate",
    "worker",
}


def commands() -> list[click.Command]:
    context = click.Context(app)
    found = [app.get_command(context, name) for name in Commands()]
    groups = [each for each in found if isinstance(each, click.Group)]
    inner = [each for group in groups for each in group.commands.values()]
    return [each for each in (*found, *inner) if each is not None and not isinstance(each, click.Group)]


@pytest.mark.parametrize("command", commands(), ids=lambda each: each.name)
def test_every_command_that_lists_has_the_options(command: click.Command) -> None:
    if command.name in OTHERS:
        return
    options = {name: each for each in command.params for name in each.opts}
    assert {"-f", "-c", "--column", "--sort-column", "--sort-descending"} <= options.keys()
    assert isinstance(options["-f"].type, click.Choice)
    assert set(FORMATS) <= set(options["-f"].type.choices)


def test_a_report_in_every_format_shows_the_same_rows(batchexport: Callable[..., Result], state: str) -> None:
    words = ("report", state, "-c", "volume_id", "-c", "size_gib", "--sort-column", "size_gib")
    by = {form: batchexport(*words, "-f", form).stdout for form in FORMATS}
    records = json.loads(by["json"])
    sizes = [each["size_gib"] for each in records if each["size_gib"] is not None]
    assert len(records) == 40 and sizes == sorted(sizes)
    assert yaml.safe_load(by["yaml"]) == records
    rows = list(csv.DictReader(by["csv"].splitlines()))
    assert [each["volume_id"] for each in rows] == [each["volume_id"] for each in records]
    assert [line.split()[0] for line in by["value"].splitlines()] == [each["volume_id"] for each in records]
    assert len(by["table"].splitlines()) == 41


@pytest.mark.parametrize("words", [("status",), ("report",), ("servers",)])
def test_yaml_without_a_choice_is_the_json_document(
    batchexport: Callable[..., Result], state: str, words: tuple[str, ...]
) -> None:
    as_json = json.loads(batchexport(*words, state, "-f", "json").stdout)
    as_yaml = yaml.safe_load(batchexport(*words, state, "-f", "yaml").stdout)
    assert as_yaml == as_json


def test_runs_are_listed_with_chosen_columns(batchexport: Callable[..., Result], state: str) -> None:
    Path("broken.state").write_text("no state file")
    words = ("runs", ".", "-f", "value", "-c", "state_file", "-c", "rows", "--sort-column", "rows")
    assert batchexport(*words).stdout.splitlines() == ["n1.state 40", "broken.state "]


def test_what_does_not_go_together_is_refused(batchexport: Callable[..., Result], state: str) -> None:
    for words in (
        ("report", state, "-f", "html", "-c", "line"),
        ("report", state, "--sort-descending"),
        ("report", state, "-c", "nonsense"),
        ("report", state, "-f", "toml"),
        ("discover", "--append", "-o", "x.csv", "-c", "volume_id"),
    ):
        result = batchexport(*words)
        assert result.exit_code == 2 and "error: " in result.stderr and "hint: " in result.stderr


def test_a_shell_completes_columns(state: str) -> None:
    environment = {
        **os.environ,
        "_BATCHEXPORT_COMPLETE": "bash_complete",
        "COMP_WORDS": "batchexport report n1.state -c volume_",
        "COMP_CWORD": "4",
    }
    completed = subprocess.run(
        [sys.executable, "-m", "batchexport"], env=environment, capture_output=True, text=True, check=True
    )
    assert completed.stdout.split() == ["plain,volume_id", "plain,volume_name"]

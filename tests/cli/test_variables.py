"""Environment variables of options: one name means one thing, and older names still work."""

from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from click.testing import Result

from batchexport.cli.flags import config_of_run
from batchexport.cli.options import Option
from batchexport.cli.program import app
from batchexport.cli.run import run


def options(command: click.Command = app, path: str = "batchexport") -> Iterator[tuple[str, click.Option]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield path, parameter
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from options(inner, f"{path} {name}")


def test_a_variable_means_the_same_to_every_command_that_reads_it() -> None:
    """BATCHEXPORT_FORMAT once broke `run` in the environment of somebody who had meant `report`."""
    meanings: dict[str, dict[Any, list[str]]] = {}
    for path, option in options():
        names = [option.envvar] if isinstance(option.envvar, str) else [*(option.envvar or ())]
        for name in (*names, *getattr(option, "old_variables", ())):
            values = (option.type.name, tuple(getattr(option.type, "choices", ())))
            meaning = (values, option.help, option.is_flag, option.multiple, tuple(option.opts))
            meanings.setdefault(name, {}).setdefault(meaning, []).append(path)
    assert len(meanings) > 40
    assert {name: [*found.values()] for name, found in meanings.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", ["BATCHEXPORT_REBIND_CLOUD", "BATCHEXPORT_FORMAT", "BATCHEXPORT_OUTPUT"])
def test_these_variables_are_read_by_no_command(name: str) -> None:
    assert not [path for path, option in options() if option.envvar == name]


def test_a_variable_opens_no_run_to_a_copy_of_its_cloud(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHEXPORT_REBIND_CLOUD", "1")
    flags = run.make_context("run", ["v.csv"]).params
    assert not config_of_run("v.csv", flags, {}).settings.rebind_cloud
    assert "no option reads the variable BATCHEXPORT_REBIND_CLOUD" in batchexport("runs", ".").stderr


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["--in-doubt-timeout", "7"], {}),
        (["--settle-time", "7"], {}),
        (["--settle-time=7"], {"BATCHEXPORT_IN_DOUBT_TIMEOUT": "8"}),
        ([], {"BATCHEXPORT_IN_DOUBT_TIMEOUT": "7", "BATCHEXPORT_SETTLE_TIME": "8"}),
        ([], {"BATCHEXPORT_SETTLE_TIME": "7"}),
    ],
)
def test_older_spellings_still_work(
    words: list[str], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    flags = run.make_context("run", ["v.csv", *words]).params
    assert config_of_run("v.csv", flags, {}).settings.limits.settle_s == 7.0


def test_older_spellings_are_in_no_help_and_no_complaint(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [name for _, option in options() if isinstance(option, Option) for name in option.old_names]
    assert old
    help_text = batchexport("run", "--help").stdout
    assert "--in-doubt-timeout" in help_text
    assert not [name for name in old if name in help_text] and "SETTLE_TIME" not in help_text
    result = batchexport("run", "v.csv", "--settle-time", "soon")
    assert "--in-doubt-timeout: " in result.stderr
    monkeypatch.setenv("BATCHEXPORT_SETTLE_TIME", "1")
    assert "no option reads" not in batchexport("runs", ".").stderr

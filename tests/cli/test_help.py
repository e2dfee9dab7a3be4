import os

import click
import pytest

from batchexport import __version__
from batchexport.cli.app import app, help_width

COMMANDS = [
    "doctor",
    "discover",
    "validate",
    "plan",
    "run",
    "resume",
    "retry",
    "status",
    "report",
    "verify",
    "reconcile",
    "servers",
    "cleanup",
    "schedule",
    "runs",
    "sandbox",
    "completion",
]
OPTIONS = [
    pytest.param(command, option, id=f"{command} {option.name}")
    for command in COMMANDS
    for option in app.commands[command].params
    if isinstance(option, click.Option)
]


def test_commands_stand_in_the_order_of_work(batchexport):
    assert app.list_commands(click.Context(app)) == COMMANDS


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(batchexport, command, flag):
    result = batchexport(command, flag)
    assert result.exit_code == 0
    examples = result.stdout.partition("Examples:\n")[2]
    assert f"    batchexport {command}" in examples


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_has_help(command, option):
    assert option.help


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_reads_the_variable_of_its_long_name(command, option):
    long_name = next(name for name in option.opts if name.startswith("--")).removeprefix("--")
    variable = long_name.replace("-", "_").upper()
    if long_name.startswith("os-") and long_name != "os-type":
        # openstacksdk reads these by itself.
        assert option.envvar is None
        assert f"[env var: {variable}]" in option.help
    else:
        assert option.envvar == f"BATCHEXPORT_{variable}"
        assert option.show_envvar


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 74, 75, 129, 130, 131, 143])
def test_the_programs_help_explains_each_exit_code(batchexport, code):
    lines = batchexport("--help").stdout.splitlines()
    assert any(line.split()[:1] == [str(code)] for line in lines)


def test_the_version_is_told(batchexport):
    assert batchexport("--version").stdout == f"batchexport, version {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(batchexport, shell):
    result = batchexport("completion", shell)
    assert result.exit_code == 0
    assert "_BATCHEXPORT_COMPLETE" in result.stdout


def test_completion_of_another_shell_is_refused(batchexport):
    assert batchexport("completion", "tcsh").exit_code == 2


@pytest.mark.parametrize(("columns", "width"), [("200", 98), ("90", 88), ("20", 50), ("many", 78)])
def test_help_is_as_wide_as_the_terminal_within_reason(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert help_width() == width


def test_help_is_as_wide_as_the_terminal_that_is_there(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((84, 20)))
    assert help_width() == 82

import os
from collections.abc import Callable

import click
import pytest
from click import Option
from click.testing import Result

from batchexport.cli.program import app, help_width
from batchexport.version import __version__

COMMANDS = [
    "doctor",
    "discover",
    "validate",
    "plan",
    "run",
    "resume",
    "retry",
    "status",
    "ctl",
    "report",
    "verify",
    "deliver",
    "restore",
    "reconcile",
    "give-up",
    "resources",
    "servers",
    "cleanup",
    "schedule",
    "runs",
    "submit",
    "worker",
    "workers",
    "drain",
    "db",
    "sandbox",
    "completion",
]
OPTIONS = [
    pytest.param(command, option, id=f"{command} {option.name}")
    for command in COMMANDS
    for option in app.commands[command].params
    if isinstance(option, click.Option)
]

#: Of commands that list something.
LISTING = {"FORMAT", "COLUMN", "SORT_COLUMN", "SORT_DESCENDING"}
#: Variables that bear the name of the command which alone heeds them.
OWN = {
    "cleanup": {*LISTING, "YES", "DRY_RUN"},
    "ctl": {"FORMAT"},
    "deliver": {"TO", "DRY_RUN"},
    "doctor": LISTING,
    "reconcile": LISTING,
    "discover": {"OUTPUT", *LISTING, "STATUS", "NAME", "AVAILABILITY_ZONE", "TYPE", "ATTACHED_TO"},
    "give-up": {"VOLUME", "STALLED", "SERVER", "YES"},
    "plan": {*LISTING},
    "report": {*LISTING, "OUTPUT"},
    "runs": {*LISTING},
    "sandbox": {"LIST"},
    "resources": {*LISTING, "RELEASE"},
    "servers": {*LISTING, "START", "ANYWAY"},
    "status": {*LISTING},
    "worker": {"NAME", "SLOTS"},
    "workers": {*LISTING},
    "verify": {*LISTING},
}


def test_commands_stand_in_the_order_of_work(batchexport: Callable[..., Result]) -> None:
    assert app.list_commands(click.Context(app)) == COMMANDS


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    batchexport: Callable[..., Result], command: str, flag: str
) -> None:
    result = batchexport(command, flag)
    assert result.exit_code == 0
    examples = result.stdout.partition("Examples:\n")[2]
    assert f"    batchexport {command}" in examples


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_has_help(command: str, option: Option) -> None:
    assert option.help


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_reads_the_variable_of_its_long_name(command: str, option: Option) -> None:
    long_name = next(name for name in option.opts if name.startswith("--")).removeprefix("--")
    variable = long_name.replace("-", "_").upper()
    if long_name in ("rebind-cloud", "drop-source-image"):
        # Left in an environment, one opens every later run to a copy of its cloud, the other deletes images.
        assert option.envvar is None
    elif command == "ctl" and long_name in ("max-exports", "requests-per-second", "to"):
        # Meant for a run, they would change one that is only looked at.
        assert option.envvar is None
    elif (command, long_name) in {("worker", "once"), ("drain", "worker"), ("drain", "host")}:
        # Said once: left in an environment, they end workers that are to stay.
        assert option.envvar is None
    elif long_name.startswith("os-") and long_name != "os-type":
        # openstacksdk reads these by itself.
        assert option.envvar is None
        assert f"[env var: {variable}]" in (option.help or "")
    else:
        own = f"{command.replace('-', '_').upper()}_" if variable in OWN.get(command, ()) else ""
        assert option.envvar == f"BATCHEXPORT_{own}{variable}"
        assert option.show_envvar


def test_a_name_that_commands_share_without_meaning_the_same_has_a_variable_for_each() -> None:
    """What agrees to one thing in one command, or is a file in one and a folder in another, is not shared."""
    told: dict[object, set[object]] = {}
    for _command, option in ((value.values[0], value.values[1]) for value in OPTIONS):
        told.setdefault(option.envvar, set()).add((option.help, str(option.type), option.name))
    assert [variable for variable, meanings in told.items() if variable and len(meanings) > 1] == []


def test_a_variable_that_agrees_to_stopped_servers_deletes_nothing() -> None:
    yes = {
        command: option.envvar for command, option in (v.values for v in OPTIONS) if "--yes" in option.opts
    }
    assert yes.pop("cleanup") == "BATCHEXPORT_CLEANUP_YES"
    assert yes.pop("give-up") == "BATCHEXPORT_GIVE_UP_YES"
    assert set(yes.values()) == {"BATCHEXPORT_YES"}


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 74, 75, 129, 130, 131, 143])
def test_the_programs_help_explains_each_exit_code(batchexport: Callable[..., Result], code: int) -> None:
    lines = batchexport("--help").stdout.splitlines()
    assert any(line.split()[:1] == [str(code)] for line in lines)


def test_the_version_is_told(batchexport: Callable[..., Result]) -> None:
    assert batchexport("--version").stdout == f"batchexport, version {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(batchexport: Callable[..., Result], shell: str) -> None:
    result = batchexport("completion", shell)
    assert result.exit_code == 0
    assert "_BATCHEXPORT_COMPLETE" in result.stdout


def test_completion_of_another_shell_is_refused(batchexport: Callable[..., Result]) -> None:
    assert batchexport("completion", "tcsh").exit_code == 2


@pytest.mark.parametrize(("columns", "width"), [("200", 98), ("90", 88), ("20", 50), ("many", 78)])
def test_help_is_as_wide_as_the_terminal_within_reason(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert help_width() == width


def test_help_is_as_wide_as_the_terminal_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with monkeypatch.context() as patched:  # pytest itself asks when the test is over
        patched.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((84, 20)))
        width = help_width()
    assert width == 82


def test_options_stand_in_sections_the_commands_own_first_and_those_of_signing_in_last(
    batchexport: Callable[..., Result],
) -> None:
    lines = batchexport("run", "--help").stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Options:",
        "Pace and limits:",
        "Images:",
        "Volumes in use:",
        "Deliveries:",
        "Events and metrics:",
        "Output:",
        "Cloud and authentication:",
    ]
    assert any(line.startswith("  --state FILE") for line in lines[: lines.index("Pace and limits:")])
    assert not any("default: (" in line for line in lines)

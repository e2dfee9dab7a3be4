"""How options are declared: each also reads a `BATCHEXPORT_…` variable, and has its section in the help.

Loaded for `--version` too, so it imports nothing but Click.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import LogFormat, console_of

Decorator = Callable[[Any], Any]
#: Click puts a default that is a phrase in parentheses, and one that is a value in none.
_PHRASE = re.compile(r"default: \(([^()]*)\)")


class Section(StrEnum):
    """The headings, in the order of the help."""

    OWN = "Options"
    PACE = "Pace and limits"
    IMAGES = "Images"
    IN_USE = "Volumes in use"
    DELIVERIES = "Deliveries"
    EVENTS = "Events and metrics"
    OUTPUT = "Output"
    CLOUD = "Cloud and authentication"


class Option(click.Option):
    """An option that may have older names and variables, which still work and which no help shows."""

    def __init__(
        self, *args: Any, old_names: Sequence[str] = (), old_variables: Sequence[str] = (), **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.old_names, self.old_variables = old_names, old_variables

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know the older names too."""
        shown = self.opts
        self.opts = [*shown, *self.old_names]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = shown

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The value of the variable, else of an older one."""
        value = super().resolve_envvar_value(ctx)
        older = (os.environ.get(name) for name in self.old_variables)
        return value or next(filter(None, older), None)


def option(
    *names: str,
    help: str,
    of: str | None = None,
    old_names: Sequence[str] = (),
    variable: bool = True,
    **attributes: Any,
) -> Decorator:
    """A Click option that also reads BATCHEXPORT_ and its long name, unless it is to have no `variable`.

    `of` is the command that alone heeds the variable, which then bears its name: BATCHEXPORT_REPORT_FORMAT.
    It is for options whose name means something else elsewhere, and for consent. `old_names` are spellings of
    earlier versions; they, and their variables, still work.
    """
    long_name = next(part for name in names for part in name.split("/") if part.startswith("--"))
    said: dict[str, Any] = {"cls": Option, "help": help, "old_names": old_names}
    if variable:
        said |= {"envvar": _variable(long_name, of), "show_envvar": True}
        said["old_variables"] = [_variable(name, of) for name in old_names if name.startswith("--")]
    return click.option(*names, **{**said, **attributes})


def _variable(long_name: str, of: str | None) -> str:
    own = f"{of}_" if of else ""
    return f"BATCHEXPORT_{own}{long_name.removeprefix('--')}".replace("-", "_").upper()


def all_of(*decorators: Decorator, section: Section | None = None) -> Decorator:
    """One decorator that adds all these, in the order in which the help shall show them.

    `section` is where it shows those that are in none yet.
    """

    def add(command: Any) -> Any:
        before = len(_parameters(command))
        for decorate in reversed(decorators):
            command = decorate(command)
        if section is not None:
            for parameter in _parameters(command)[before:]:
                if not hasattr(parameter, "section"):
                    parameter.section = section
        return command

    return add


def _parameters(command: Any) -> list[Any]:
    """The options so far of a command, or of a function that is to become one."""
    return command.params if isinstance(command, click.Command) else getattr(command, "__click_params__", [])


def _for_console(name: str) -> dict[str, Any]:
    """Attributes of an option that is kept for the whole program, whichever command it was given to."""

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            setattr(console_of(context), name, value)

    return {"expose_value": False, "callback": keep}


def _open_log_file(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    from batchexport.cli.log_file import LogFile

    console = console_of(context)
    if console.log_file is None or console.log_file.path != value:
        console.log_file = LogFile(value, console)


class _Verbosity(click.IntRange):
    """How often -v was given; as a variable also yes and no."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        words = {"yes": 1, "true": 1, "on": 1, "no": 0, "false": 0, "off": 0, "": 0}
        said: Any = words.get(value.strip().lower(), value) if isinstance(value, str) else value
        return super().convert(said, param, ctx)


console_options = all_of(
    option(
        "-v",
        "--verbose",
        count=True,
        type=_Verbosity(min=0),
        help="Say more on stderr; -vv shows every request.",
        **_for_console("verbose"),
    ),
    option("-q", "--quiet", is_flag=True, help="Show only errors.", **_for_console("quiet")),
    option(
        "--log-format",
        type=click.Choice([each.value for each in LogFormat]),
        show_default=LogFormat.TEXT.value,
        help="Format of the log on stderr; json: one object per line.",
        **_for_console("log_format"),
    ),
    option(
        "--log-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_open_log_file,
        help="Also append the log to this file, every change of a row included; with -vv every request.",
    ),
    section=Section.OUTPUT,
)


class Command(click.Command):
    """A command of the program."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, section by section."""
        sections: dict[Section, list[tuple[str, str]]] = {section: [] for section in Section}
        for parameter in self.get_params(ctx):
            if not isinstance(parameter, click.Option):
                continue
            if (record := parameter.get_help_record(ctx)) is not None:
                names, words = record
                sections[_section_of(parameter)].append((names, _PHRASE.sub(r"default: \1", words)))
        for section, records in sections.items():
            if records:
                with formatter.section(section):
                    formatter.write_dl(records)


def _section_of(parameter: click.Parameter) -> Section:
    return Section.OUTPUT if "--help" in parameter.opts else getattr(parameter, "section", Section.OWN)


def flag(*names: str, **attributes: Any) -> Decorator:
    """A switch that is None unless it is given."""
    return option(*names, is_flag=True, default=None, **attributes)

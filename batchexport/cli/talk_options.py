"""How options are declared here: each also reads `BATCHEXPORT_…`; and those that every command takes.

Loaded for `--version` too, so it imports nothing but Click.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import click

from batchexport.cli.console import LogFormat, console_of

Decorator = Callable[[Any], Any]


class Section(StrEnum):
    """The headings, in the order of the help."""

    OWN = "Options"
    PACE = "Pace and limits"
    IMAGES = "Images"
    IN_USE = "Volumes in use"
    EVENTS = "Events and metrics"
    OUTPUT = "Output"
    CLOUD = "Cloud and authentication"


def option(*names: str, words: str, of: str | None = None, **attributes: Any) -> Decorator:
    """A Click option that also reads BATCHEXPORT_ and its long name; `words` is its help.

    `of` is the command that alone heeds the variable, which then bears its name: BATCHEXPORT_REPORT_FORMAT.
    It is for options whose name means something else elsewhere, and for consent.
    """
    long_name = next(part for name in names for part in name.split("/") if part.startswith("--"))
    own = f"{of}_" if of else ""
    variable = f"BATCHEXPORT_{own}{long_name.removeprefix('--')}".replace("-", "_").upper()
    return click.option(*names, **{"help": words, "envvar": variable, "show_envvar": True, **attributes})


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


class _Verbosity(click.IntRange):
    """How often -v was given; as a variable also yes and no."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        words = {"yes": 1, "true": 1, "on": 1, "no": 0, "false": 0, "off": 0, "": 0}
        said: Any = words.get(value.strip().lower(), value) if isinstance(value, str) else value
        return super().convert(said, param, ctx)


talk_options = all_of(
    option(
        "-v",
        "--verbose",
        count=True,
        type=_Verbosity(min=0),
        words="Say more on stderr; -vv shows every request.",
        **_for_console("verbose"),
    ),
    option("-q", "--quiet", is_flag=True, words="Show only errors.", **_for_console("quiet")),
    option(
        "--log-format",
        type=click.Choice([each.value for each in LogFormat]),
        show_default=LogFormat.TEXT.value,
        words="Format of the log on stderr; json: one object per line.",
        **_for_console("log_format"),
    ),
    section=Section.OUTPUT,
)

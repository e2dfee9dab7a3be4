"""How options are declared here: each also reads `BATCHEXPORT_…`; and those that every command takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from batchexport.cli.talk import LogFormat, talk_of
from batchexport.dialect import CONTAINER_FORMATS, OS_TYPES, VISIBILITIES, DialectName, disk_formats
from batchexport.errors import ConfigError

Decorator = Callable[[Any], Any]

#: The words that an option, or a key of a job file, may hold.
ALLOWED = {
    "dialect": [name.value for name in DialectName],
    "disk_format": disk_formats(None),
    "container_format": CONTAINER_FORMATS,
    "os_type": OS_TYPES,
    "visibility": VISIBILITIES,
}
FILE = click.Path(dir_okay=False, path_type=Path)
STATE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Parsed(click.ParamType[Any]):
    """An option type made from a function that raises ValueError or ConfigError for what it cannot read."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as the function reads it; what is no longer a text was read before."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except (ValueError, ConfigError) as error:
            self.fail(str(error), param, ctx)


def option(*names: str, words: str, **attributes: Any) -> Decorator:
    """A Click option that also reads BATCHEXPORT_ and its long name; `words` is its help."""
    long_name = next(part for name in names for part in name.split("/") if part.startswith("--"))
    variable = "BATCHEXPORT_" + long_name.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, **{"help": words, "envvar": variable, "show_envvar": True, **attributes})


def choice(*names: str, among: str, **attributes: Any) -> Decorator:
    """An option whose value is one of the ALLOWED words for `among`."""
    return option(*names, type=click.Choice(ALLOWED[among]), **attributes)


def all_of(*decorators: Decorator) -> Decorator:
    """One decorator that adds all these, in the order in which the help shall show them."""

    def add(command: Any) -> Any:
        for decorate in reversed(decorators):
            command = decorate(command)
        return command

    return add


def _for_talk(name: str) -> dict[str, Any]:
    """Attributes of an option that is kept for the whole program, whichever command it was given to."""

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            setattr(talk_of(context), name, value)

    return {"expose_value": False, "callback": keep}


talk_options = all_of(
    option("-v", "--verbose", count=True, words="Say more on stderr; -vv says all.", **_for_talk("verbose")),
    option("-q", "--quiet", is_flag=True, words="Say nothing but errors.", **_for_talk("quiet")),
    option(
        "--log-format",
        type=click.Choice([each.value for each in LogFormat]),
        show_default=LogFormat.TEXT.value,
        words="Form of the log on stderr; json is one object per line.",
        **_for_talk("log_format"),
    ),
)
dialect_option = choice(
    "--dialect",
    among="dialect",
    show_default="found out at sign-in",
    words="Whose rules the cloud's block storage follows.",
)

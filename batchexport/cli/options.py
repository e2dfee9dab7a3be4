"""Kinds of options that several commands take, and the words they may hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from batchexport.cli.completing import StateFilePath
from batchexport.cli.talk_options import Decorator, all_of, option, talk_options
from batchexport.config.values import parse_encoding
from batchexport.dialect import ALLOWED
from batchexport.errors import ConfigError

__all__ = [
    "FILE",
    "JOB_FILE",
    "STATE_FILE",
    "Decorator",
    "Parsed",
    "all_of",
    "choice",
    "dialect_option",
    "encoding_option",
    "form_option",
    "option",
    "talk_options",
]

FILE = click.Path(dir_okay=False, path_type=Path)
STATE_FILE = StateFilePath(exists=True, dir_okay=False, path_type=Path)


#: Where the context keeps the job file that was given in the place of a state file.
JOB_FILE = "batchexport.job_file"


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


def choice(*names: str, among: str, **attributes: Any) -> Decorator:
    """An option whose value is one of the ALLOWED words for `among`."""
    return option(*names, type=click.Choice(ALLOWED[among]), **attributes)


def form_option(*forms: str, of: str, words: str = "Output format.") -> Decorator:
    """`--format` of a command, one of these; the first is the default."""
    return option(
        "-f",
        "--format",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        words=words,
        of=of,
    )


encoding_option = option(
    "--encoding",
    type=Parsed("encoding", parse_encoding),
    metavar="NAME",
    show_default="utf-8, or utf-16 with a byte order mark",
    words="Encoding of the list, such as gb18030 or cp1252; never guessed.",
)
dialect_option = choice(
    "--dialect",
    among="dialect",
    show_default="detected at sign-in",
    words="Dialect of the block storage API.",
)

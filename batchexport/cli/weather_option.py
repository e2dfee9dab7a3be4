"""`--weather`: what goes wrong in the practice cloud that a command starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.options import Parsed, option

if TYPE_CHECKING:
    from batchexport.sandbox.weather import Weather


def _read(text: str) -> Weather:
    from batchexport.sandbox.weather import read_weather

    return read_weather(text)


def _order(_context: click.Context, _: click.Parameter, value: Any) -> None:
    from batchexport.app.embedded_sandbox import WEATHER

    WEATHER.set(value)


_TYPE = Parsed("weather", _read)
_METAVAR = "NAME|FILE"
#: For commands that may start a practice cloud.
weather_option = option(
    "--weather",
    type=_TYPE,
    metavar=_METAVAR,
    show_default="fair",
    words="Faults of the sandbox: `storm`, the name of one fault, or a TOML file.",
    expose_value=False,
    callback=_order,
)
#: For the command that is one.
own_weather_option = option(
    "--weather",
    type=_TYPE,
    metavar=_METAVAR,
    show_default="fair",
    words="Faults of the sandbox: `storm`, the name of one fault, or a TOML file.",
)

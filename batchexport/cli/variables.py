"""Variables that look like ours and that no option reads: a misspelt one would be passed over in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import click

PREFIX = "BATCHEXPORT_"


def unknown_variables(program: click.Group, environment: Iterable[str]) -> list[str]:
    """A sentence for each of them. Loads every command where there is any variable of ours."""
    given = sorted(name for name in environment if name.startswith(PREFIX))
    if not given:
        return []
    known = set(_read_by(program))
    commands = [name.upper() for name in program.list_commands(click.Context(program))]
    return [_told(name, known, commands) for name in given if name not in known]


def _read_by(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter.envvar, str):
            yield parameter.envvar
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) is not None:
                yield from _read_by(inner)


def _told(name: str, known: Collection[str], commands: Iterable[str]) -> str:
    from difflib import get_close_matches

    own = [f"{PREFIX}{command}_{name.removeprefix(PREFIX)}" for command in commands]
    if found := [each for each in own if each in known]:
        return f"{name} is read by no command: each has its own, {', '.join(found)}"
    close = get_close_matches(name, list(known), n=1, cutoff=0.8)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"no option reads the variable {name}{meant}"

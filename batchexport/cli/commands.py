"""The commands by name, each loaded on first use: `--help` needs only their summaries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from importlib import import_module

import click

#: In the order of work. A command stands in the module of its name; the words are the first sentence of its
#: help, repeated here because loading all modules for them would take ten times as long as showing them.
WORDS: Mapping[str, str] = {
    "doctor": "Check credentials, endpoints, permissions and clock.",
    "discover": "Make a job list from the project's volumes.",
    "validate": "Check a job list and report every problem.",
    "plan": "Check in the cloud which rows of a list can be exported.",
    "run": "Export every volume of a job list to an image.",
    "resume": "Resume a run from its state file.",
    "retry": "Retry the failed rows.",
    "status": "Show the progress of a run.",
    "ctl": "Control a run while it works: pause, continue, drain, limits, order.",
    "report": "Show every row with its image or its reason.",
    "verify": "Check every image of a run again.",
    "deliver": "Deliver the images of a run to where they are needed.",
    "restore": "Upload images that were saved as files to an image service.",
    "reconcile": "Settle ambiguous rows after a clean-up.",
    "give-up": "End rows that cannot succeed any more.",
    "resources": "Show or release the servers, snapshots and temporary volumes that a run holds.",
    "servers": "Show or start the servers that are stopped for exports.",
    "cleanup": "Show or delete unfinished images of failed attempts.",
    "schedule": "Show when jobs start, emit timers, or start them here.",
    "runs": "List the runs in a folder, oldest first.",
    "submit": "Put a run into a database for workers to work on.",
    "worker": "Work on the runs that were submitted to a database.",
    "workers": "Show the workers of a database and what each holds.",
    "drain": "Drain workers: they hand over their targets and exit.",
    "db": "Prepare, upgrade or check a PostgreSQL database for runs.",
    "sandbox": "Run a sandbox: a practice cloud on this machine.",
    "completion": "Print a shell's completion script.",
}


PREFIX = "BATCHEXPORT_"


class Commands(MutableMapping[str, click.Command]):
    """The commands by name, as Click wants them; each is loaded when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            if name not in WORDS:
                raise KeyError(name)
            module = name.replace("-", "_")
            self._loaded[name] = getattr(import_module(f"batchexport.cli.{module}"), module)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("the commands of the program are what they are")

    def __contains__(self, name: object) -> bool:
        return name in WORDS

    def __iter__(self) -> Iterator[str]:
        return iter(WORDS)

    def __len__(self) -> int:
        return len(WORDS)


def write_commands(formatter: click.HelpFormatter) -> None:
    """The section of the help that names every command, each on one line."""
    room = formatter.width - 6 - max(map(len, WORDS))
    with formatter.section("Commands"):
        formatter.write_dl([(name, _cut(words, room)) for name, words in WORDS.items()])


def _cut(words: str, room: int) -> str:
    """As many whole words as there is room for."""
    return words if len(words) <= room else words[: room - 1].rpartition(" ")[0] + " …"


def unknown_variables(program: click.Group, environment: Iterable[str]) -> list[str]:
    """A sentence for each of them. Loads every command where there is any variable of ours."""
    given = sorted(name for name in environment if name.startswith(PREFIX) and not _is_of_hook(name))
    if not given:
        return []
    known = set(_read_by(program))
    commands = [name.upper() for name in program.list_commands(click.Context(program))]
    return [_told(name, known, commands) for name in given if name not in known]


def _is_of_hook(name: str) -> bool:
    """Whether it was set for a command of the user's, which may well run this program."""
    return name.startswith("BATCHEXPORT_HOOK_") or name in (
        "BATCHEXPORT_SERVER_ID",
        "BATCHEXPORT_SERVER_NAME",
        "BATCHEXPORT_VOLUME_IDS",
    )


def _read_by(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter.envvar, str):
            yield parameter.envvar
        yield from getattr(parameter, "old_variables", ())
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) is not None:
                yield from _read_by(inner)


def _told(name: str, known: Collection[str], commands: Iterable[str]) -> str:
    from difflib import get_close_matches

    own = [f"{PREFIX}{command}_{name.removeprefix(PREFIX)}" for command in commands]
    if found := [each for each in own if each in known]:
        return f"{name} is read by no command; each has a variable of its own: {', '.join(found)}"
    close = get_close_matches(name, list(known), n=1, cutoff=0.8)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"no option reads the variable {name}{meant}"

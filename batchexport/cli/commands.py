"""The commands of the program by name, each loaded when it is asked for: `--help` needs their words alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click

#: In the order of work. A command stands in the module of its name; the words are the first sentence of its
#: help, repeated here because loading all modules for them would take ten times as long as showing them.
WORDS: Mapping[str, str] = {
    "doctor": "Check account, endpoints, rights and clock in one screen.",
    "discover": "Make a job list of the project's volumes: all, or those that fit every filter given.",
    "validate": "Check a job list and tell every problem.",
    "plan": "Look at every volume of a list in the cloud, and tell which rows can go.",
    "run": "Export every volume of a job list to an image.",
    "resume": "Carry on with a run from its state file.",
    "retry": "Try the failed rows again.",
    "status": "Show how far a run is.",
    "report": "Show what became of every row, with its image or its reason.",
    "verify": "Look again at every image that a run made: active, in the formats asked for, as large as its"
    " volume.",
    "reconcile": "Look at ambiguous rows again, and settle those that have become clear.",
    "give-up": "End rows that can no longer come true, so that the run can end and later nights can begin.",
    "servers": "Show which servers are stopped for exports, since when, and for which volumes.",
    "cleanup": "Show, and with --yes remove, unfinished images that failed attempts left behind.",
    "schedule": "Tell when jobs start, have something start them, or start them from here.",
    "runs": "List the runs whose state files are in a folder, the oldest first.",
    "sandbox": "Run a practice cloud on this machine.",
    "completion": "Print the completion script of a shell.",
}


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

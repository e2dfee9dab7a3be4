"""Writes man pages and completion scripts from the code: `python -m tools.man FOLDER`.

A wheel installs what is in share/, so `man batchexport` works and shells complete. `tools.reference` writes
it, too; `tests/docs/test_man.py` fails when it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from batchexport.cli.commands import WORDS
from batchexport.cli.completion import SHELLS
from batchexport.cli.program import app
from batchexport.errors import EXIT_CODES

#: Where shells look, under the prefix of an installation.
_COMPLETIONS = {
    "bash": "bash-completion/completions/batchexport",
    "zsh": "zsh/site-functions/_batchexport",
    "fish": "fish/vendor_completions.d/batchexport.fish",
}


def shared_files() -> Mapping[str, str]:
    """What belongs in share/, by path."""
    context = context_of(app, "batchexport")
    pages = {"man/man1/batchexport.1": _page("batchexport", app, "Export cloud volumes to images.")}
    for name, words in WORDS.items():
        command = app.get_command(context, name)
        assert command is not None
        pages[f"man/man1/batchexport-{name}.1"] = _page(f"batchexport {name}", command, words)
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            words = (inner.help or "").strip().split("\n\n")[0].replace("\n", " ")
            title = f"batchexport {name} {inner.name}"
            pages[f"man/man1/{title.replace(' ', '-')}.1"] = _page(title, inner, words)
    scripts = {
        _COMPLETIONS[shell]: kind(app, {}, "batchexport", "_BATCHEXPORT_COMPLETE").source() + "\n"
        for shell, kind in SHELLS.items()
    }
    return pages | scripts


def context_of(command: click.Command, title: str) -> click.Context:
    """How a command is met on the command line: it keeps the help option of the first context it meets."""
    names = app.context_settings["help_option_names"]
    return click.Context(command, info_name=title, help_option_names=names)


def _page(title: str, command: click.Command, words: str) -> str:
    return "\n".join(_lines(title, command, words)) + "\n"


def _lines(title: str, command: click.Command, words: str) -> Iterator[str]:
    name = title.replace(" ", "-")
    yield f'.TH "{name.upper()}" "1" "" "batchexport" "User Commands"'
    yield from (".SH NAME", f"{_text(name)} \\- {_text(words.rstrip('.'))}")
    context = context_of(command, title)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", f".B {_text(title)}", _text(usage))
    yield ".SH DESCRIPTION"
    for paragraph in (command.help or "").strip().split("\n\n"):
        yield from (".PP", _text(" ".join(paragraph.split())))
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        named = WORDS if command is app else dict.fromkeys(command.commands, "")
        for each in named:
            yield from (
                ".TP",
                f"\\fB{_text(title)} {_text(each)}\\fP",
                _text(named[each] or _first_of(command, each)),
            )
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
            yield from (".TP", f"\\fB{_text(record[0])}\\fP", _text(record[1]))
    examples = [line for line in (command.epilog or "").splitlines() if line.startswith("  batchexport ")]
    if examples:
        yield from (".SH EXAMPLES", ".nf", *(_text(line) for line in examples), ".fi")
    if command is app:
        yield ".SH EXIT STATUS"
        for code, meant in EXIT_CODES.items():
            yield from (".TP", f"\\fB{code}\\fP", _text(meant.meaning))
        yield ".SH SEE ALSO"
        yield ", ".join(f"\\fBbatchexport\\-{_text(each)}\\fP(1)" for each in WORDS)


def _first_of(group: click.Group, name: str) -> str:
    return (group.commands[name].help or "").strip().split("\n\n")[0].replace("\n", " ")


def _text(text: str) -> str:
    """The text for troff: no line is taken for a request."""
    quoted = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
    return f"\\&{quoted}" if quoted.startswith((".", "'")) else quoted


def main(folder: Path) -> None:
    """Write all files below the folder."""
    for path, text in shared_files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "share"))

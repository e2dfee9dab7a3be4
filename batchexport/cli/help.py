"""Commands whose help shows their options in sections: their own first, those of signing in last."""

from __future__ import annotations

import re

import click

from batchexport.cli.talk_options import Section

#: Click puts a default that is a phrase in parentheses, and one that is a value in none.
_PHRASE = re.compile(r"default: \(([^()]*)\)")


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

"""`-f`, `-c` and `--sort-column` of the commands that list something, as the `openstack` client has them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from batchexport.cli.options import Decorator, Section, all_of, option
from batchexport.cli.parameters import form_option

if TYPE_CHECKING:
    from batchexport.report.listing import Listing, Selection

FORMATS = ("table", "json", "yaml", "csv", "value")
_META = "batchexport.listing."


def listing_options(
    columns: Callable[[], Sequence[str]], *more: str, of: str, default: str = "table", help: str = ""
) -> Decorator:
    """The options. `more` are further formats; `columns` tells a shell what -c and --sort-column may be."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def store(context: click.Context, _: click.Parameter, value: Any) -> None:
            context.meta[_META + name] = value

        return store

    def complete(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in columns() if name.startswith(begun.lower())]

    forms = (default, *(form for form in FORMATS if form != default), *more)
    return all_of(
        form_option(*forms, of=of, help=help or "Output format; value: the bare values."),
        option(
            "-c",
            "--column",
            multiple=True,
            of=of,
            metavar="COLUMN",
            shell_complete=complete,
            expose_value=False,
            callback=keep("columns"),
            help="Show only this column (table, json, yaml, csv, value). Repeatable.",
        ),
        option(
            "--sort-column",
            multiple=True,
            of=of,
            metavar="COLUMN",
            shell_complete=complete,
            expose_value=False,
            callback=keep("sort_by"),
            help="Sort by this column. Repeatable: the first one counts most.",
        ),
        option(
            "--sort-descending",
            is_flag=True,
            of=of,
            expose_value=False,
            callback=keep("descending"),
            help="With --sort-column: the largest first.",
        ),
        section=Section.OUTPUT,
    )


def selection() -> Selection:
    """What the options of the current command chose. Raises UsageError for what does not go together."""
    from batchexport.report.listing import Selection

    meta = click.get_current_context().meta
    chosen = Selection(
        columns=meta.get(_META + "columns", ()),
        sort_by=meta.get(_META + "sort_by", ()),
        descending=meta.get(_META + "descending", False),
    )
    if chosen.descending and not chosen.sort_by:
        raise click.UsageError("--sort-descending needs a --sort-column")
    return chosen


def listed(
    form: str, listing: Listing, *, text: Callable[[], str], document: Callable[[], str] | None = None
) -> str:
    """The output of a command that lists something.

    `text` is its own table, `document` its own JSON object, which YAML holds as well: both are for all
    columns in their own order. None = it has none.
    """
    return "\n".join(listed_lines(form, listing, text=text, document=document))


def listed_lines(
    form: str, listing: Listing, *, text: Callable[[], str], document: Callable[[], str] | None = None
) -> Iterator[str]:
    """As `listed`, line by line."""
    import json

    from batchexport.report.listing import ListFormat, folded, listing_lines, yaml_lines

    chosen = selection()
    if not chosen and form == ListFormat.TABLE:
        yield folded(text(), terminal_width())
    elif not chosen and form == ListFormat.JSON and document is not None:
        yield document()
    elif not chosen and form == ListFormat.YAML and document is not None:
        yield from yaml_lines(json.loads(document()))
    else:
        yield from listing_lines(listing, ListFormat(form), chosen, width=terminal_width())


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

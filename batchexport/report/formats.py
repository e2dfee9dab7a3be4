"""The formats of a report: every row (table, CSV, JSON), or the whole run for people (HTML, Markdown)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from batchexport.model import JobState
from batchexport.report.history import earlier_runs, runs_at
from batchexport.report.rows import Format, report_lines
from batchexport.report.text import escape_controls
from batchexport.store import StateReader


class Form(StrEnum):
    """How a report is written down."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    HTML = "html"
    MARKDOWN = "markdown"

    @property
    def is_of_rows(self) -> bool:
        """Whether it lists the rows, so that some of them can be chosen."""
        return self in (Form.TABLE, Form.CSV, Form.JSON)

    @property
    def suffix(self) -> str:
        """How names of such files end."""
        return {Form.TABLE: ".txt", Form.MARKDOWN: ".md"}.get(self, f".{self}")


def written(
    reader: StateReader,
    form: Form,
    *,
    now: float,
    only: Collection[JobState] = (),
    compare: Sequence[Path] = (),
    width: int | None = None,
    csv_name: str | None = None,
) -> Iterator[str]:
    """The report, line by line, without what could steer a terminal.

    `only` chooses rows; `compare` names state files of earlier runs, and without any the earlier runs of
    the list in the same folder are taken. `width` = columns that a table may take; None = as many as it
    needs. `csv_name` is the file of the CSV report in the same folder, to be linked. Raises StateError.
    """
    yield from map(escape_controls, _lines(reader, form, now, only, compare, width, csv_name))


def _lines(
    reader: StateReader,
    form: Form,
    now: float,
    only: Collection[JobState],
    compare: Sequence[Path],
    width: int | None,
    csv_name: str | None,
) -> Iterator[str]:
    if form.is_of_rows:
        yield from report_lines(reader, Format(form), now=now, only=only, width=width)
        return
    from batchexport.report.run_report import collect_report

    earlier = runs_at(compare) if compare else earlier_runs(reader.path, reader.run)
    report = collect_report(reader, now=now, earlier=earlier, csv_name=csv_name)
    if form is Form.HTML:
        from batchexport.report.html import html_report

        yield html_report(report).rstrip("\n")
    else:
        from batchexport.report.markdown import markdown_report

        yield from markdown_report(report)

"""The formats of a report: every row (table, CSV, JSON), or the whole run for people (HTML, Markdown)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from batchexport.model import JobState
from batchexport.report.deliveries import delivery_report
from batchexport.report.history import earlier_runs, runs_at
from batchexport.report.listing import ListFormat, Listing, Selection, listing_lines, yaml_lines
from batchexport.report.resources import unreleased_by_volume
from batchexport.report.rows import COLUMNS, cells, csv_lines, json_lines, table_lines
from batchexport.report.servers import downtimes_by_volume
from batchexport.report.text import escape_controls
from batchexport.store import Reader

ALL_COLUMNS = Selection()


class ReportFormat(StrEnum):
    """The format of a report."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    YAML = "yaml"
    VALUE = "value"
    HTML = "html"
    MARKDOWN = "markdown"

    @property
    def is_of_rows(self) -> bool:
        """Whether it lists rows, so that some of them can be chosen."""
        return self not in (ReportFormat.HTML, ReportFormat.MARKDOWN)

    @property
    def suffix(self) -> str:
        """The suffix of such files."""
        return {ReportFormat.TABLE: ".txt", ReportFormat.MARKDOWN: ".md"}.get(self, f".{self}")


def report_lines(
    reader: Reader,
    form: ReportFormat,
    *,
    now: float,
    only: Collection[JobState] = (),
    compare: Sequence[Path] = (),
    width: int | None = None,
    csv_name: str | None = None,
    selection: Selection = ALL_COLUMNS,
) -> Iterator[str]:
    """The report, line by line without line ends, control characters escaped.

    `only` chooses rows; totals are always of all rows. `compare` names state files of earlier runs; without
    any, the earlier runs of the list in the same folder are taken. `width` = columns that a table may take;
    None = unlimited. `csv_name` is the file of the CSV report in the same folder, to be linked. `selection`
    chooses columns and order. Raises StateError, and ConfigError for unknown columns.
    """
    if form is ReportFormat.VALUE or selection:
        lines = _selected_lines(reader, form, now, only, width, selection)
    else:
        lines = _lines(reader, form, now, only, compare, width, csv_name)
    yield from map(escape_controls, lines)


def _selected_lines(
    reader: Reader,
    form: ReportFormat,
    now: float,
    only: Collection[JobState],
    width: int | None,
    selection: Selection,
) -> Iterator[str]:
    jobs = reader.jobs(states=frozenset(only)) if only else reader.jobs()
    downtimes = downtimes_by_volume(reader.downtimes(), now=now)
    unreleased = unreleased_by_volume(reader.overview(now=now))
    deliveries = delivery_report(reader)
    records = (cells(job, now, downtimes, unreleased, deliveries) for job in jobs)
    listing = Listing(columns=COLUMNS, records=records)
    return listing_lines(listing, ListFormat(form), selection, width=width)


def _lines(
    reader: Reader,
    form: ReportFormat,
    now: float,
    only: Collection[JobState],
    compare: Sequence[Path],
    width: int | None,
    csv_name: str | None,
) -> Iterator[str]:
    if form.is_of_rows:
        jobs = reader.jobs(states=frozenset(only)) if only else reader.jobs()
        if form is ReportFormat.CSV:
            return csv_lines(reader, jobs, now=now)
        if form is ReportFormat.JSON:
            return json_lines(reader, jobs, now=now)
        if form is ReportFormat.YAML:
            return yaml_lines(json.loads("".join(json_lines(reader, jobs, now=now))))
        return table_lines(reader, jobs, now=now, width=width)
    from batchexport.report.run_report import collect_report

    earlier = runs_at(compare) if compare else earlier_runs(reader.path, reader.run)
    report = collect_report(reader, now=now, earlier=earlier, csv_name=csv_name)
    if form is ReportFormat.HTML:
        from batchexport.report.html import html_report

        return iter([html_report(report).rstrip("\n")])
    from batchexport.report.markdown import markdown_report

    return markdown_report(report)

"""`batchexport status`: where a run stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchexport.cli.console import out
from batchexport.cli.listing import listed, listing_options, selection
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.parameters import JOB_FILE, STATE_JOB_OR_DATABASE, Parsed
from batchexport.cli.run_options import interval_s
from batchexport.observe.metrics_server import Address, parse_address

if TYPE_CHECKING:
    from batchexport.store import Reader

EPILOG = """\b
Examples:
  batchexport status volumes.state
  batchexport status volumes.state --watch
  batchexport status volumes.state -f json
  batchexport status jobs/nightly.toml --serve 9106
"""


def columns() -> Sequence[str]:
    """The columns of the list of targets."""
    from batchexport.report.status import COLUMNS

    return COLUMNS


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml|DATABASE", type=STATE_JOB_OR_DATABASE)
@listing_options(columns, of="status", help="Output format; csv and value list the targets.")
@option("-w", "--watch", is_flag=True, help="Repeat until everything is done, or Ctrl-C.")
@option(
    "--every",
    "every_s",
    type=Parsed("duration", interval_s),
    metavar="S",
    show_default="2s, or 5s",
    help="Interval of --watch, or of the live page.",
)
@option(
    "--serve",
    "serve_at",
    is_flag=False,
    flag_value="9106",
    type=Parsed("address", parse_address),
    metavar="[[HOST:]PORT]",
    help="Serve the HTML report as a live page until Ctrl-C; without HOST, to this machine only. Default"
    " port: 9106.",
)
@console_options
def status(state_path: Path, form: str, watch: bool, every_s: float | None, serve_at: Address | None) -> None:
    """Show the progress of a run.

    Reads only the state file, so it works during a run, after it, and without access to the cloud. Of a
    database, postgresql://USER@HOST/DATABASE, shows the runs that were submitted to its workers.
    """
    from batchexport.report.status import status_json, status_text, targets_listing
    from batchexport.store import stores

    if stores.is_folder_of_runs(state_path):
        _show_runs(state_path, form, is_live=watch or serve_at is not None)
        return
    if serve_at is not None:
        if watch or form != "table" or selection():
            raise click.UsageError("--serve serves a page: leave out --watch, -f, -c and --sort-column")
        from batchexport.cli.status_serve import serve

        serve(serve_at, _run_of(state_path), every_s=every_s or 5.0)
        return
    if watch:
        if form != "table":
            raise click.UsageError("--watch is for people; follow a run as JSON with run --events")
        from batchexport.cli.status_watch import watch as watch_run

        watch_run(state_path, every_s=every_s or 2.0)
        return
    now = time.time()
    with stores.read(state_path) as reader:
        out(
            listed(
                form,
                targets_listing(reader),
                text=lambda: status_text(reader, state_path, now=now, pace=_standing(reader, state_path)),
                document=lambda: status_json(reader, state_path, now=now),
            )
        )


def _standing(reader: Reader, state_path: Path) -> list[str]:
    """Whether a run works on the file that is paused or draining."""
    if not reader.processes().running:
        return []
    from batchexport.cli.status_watch import standing_lines

    return standing_lines(state_path)


def _show_runs(database: Path, form: str, *, is_live: bool) -> None:
    from batchexport.app.fleet import fleet_of
    from batchexport.report.fleet import runs_json, runs_listing, runs_text

    if is_live:
        raise click.UsageError("--watch and --serve show one run: name it, postgresql://…/DATABASE/RUN")
    fleet = fleet_of(database)
    out(listed(form, runs_listing(fleet), text=lambda: runs_text(fleet), document=lambda: runs_json(fleet)))


def _run_of(state_path: Path) -> Callable[[], Path]:
    """Which run to show each time: of a job file, the newest night."""
    job_path = click.get_current_context().meta.get(JOB_FILE)
    if job_path is None:
        return lambda: state_path
    from batchexport.app.run_config import newest_state_of

    return lambda: newest_state_of(job_path)

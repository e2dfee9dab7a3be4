"""`batchexport schedule`: when jobs start, unit files that start them, and a scheduler in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchexport.cli.console import TerminalConsole, console_of, err, marked, out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.parameters import STATE_FILE
from batchexport.version import __version__

if TYPE_CHECKING:
    from batchexport.app.scheduler import Start

EPILOG = """\b
Examples:
  batchexport schedule next jobs/nightly.toml
  batchexport schedule emit systemd jobs/nightly.toml
  batchexport schedule run jobs/nightly.toml jobs/weekly.toml
"""
NEXT_EPILOG = """\b
Examples:
  batchexport schedule next jobs/nightly.toml
  batchexport schedule next jobs/*.toml --count 30
"""
EMIT_EPILOG = """\b
Examples:
  batchexport schedule emit systemd jobs/nightly.toml --output /etc/systemd/system
  batchexport schedule emit cron jobs/nightly.toml
  batchexport schedule emit kubernetes /jobs/nightly.toml --image registry.example/batchexport:1
"""
RUN_EPILOG = """\b
Examples:
  batchexport schedule run jobs/nightly.toml
  batchexport schedule run jobs/nightly.toml jobs/weekly.toml --log-format json
"""
KINDS = ["systemd", "cron", "kubernetes"]


@click.group(epilog=EPILOG)
def schedule() -> None:
    """Show when jobs start, emit timers, or start them here.

    A job file says when in [schedule]; without one, a job starts when its [window] opens. Whoever starts it,
    the program itself looks whether the window is open.
    """


NEXT_COLUMNS = ("job_file", "starts_at", "local_time")


@click.command("next", cls=Command, epilog=NEXT_EPILOG)
@click.argument("job_paths", metavar="JOBFILE...", nargs=-1, required=True, type=STATE_FILE)
@option(
    "--count",
    type=click.IntRange(min=1),
    default=5,
    metavar="N",
    show_default=True,
    help="Number of starts.",
)
@listing_options(lambda: NEXT_COLUMNS, of="next")
@console_options
def next_starts(job_paths: tuple[Path, ...], count: int, form: str) -> None:
    """Show the next starts, in the job's time zone and in UTC.

    Warns of times that a clock change skips or doubles within the next 400 days, and of starts while the
    window is closed.
    """
    from batchexport.app.schedule import scheduled_job, warnings
    from batchexport.report.listing import Listing
    from batchexport.report.text import iso_utc
    from batchexport.scheduling.cron import starts, told

    now, records = time.time(), list[dict[str, object]]()
    for path in job_paths:
        job = scheduled_job(path)
        times = list(islice(starts(job.schedule, now), count))
        for at in times:
            local = datetime.fromtimestamp(at, job.schedule.zone).isoformat()
            words = told(at, job.schedule.zone)
            records.append(
                {"job_file": path.name, "starts_at": iso_utc(at), "local_time": local, "words": words}
            )
        for words in warnings(job, times, now=now):
            err(f"{marked('warning:', 'yellow')} {path.name}: {words}")
    text = "\n".join(f"{each['job_file']}: {each['words']}" for each in records)
    out(listed(form, Listing(columns=NEXT_COLUMNS, records=records), text=lambda: text))


@click.command(cls=Command, epilog=EMIT_EPILOG)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("job_path", metavar="JOBFILE", type=STATE_FILE)
@option(
    "-o",
    "--output",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    show_default="stdout",
    of="emit",
    help="Write the files to this folder.",
)
@option(
    "--image",
    default=f"batchexport:{__version__}",
    show_default=True,
    metavar="NAME",
    help="Container image with batchexport as its entry point (kubernetes).",
)
@console_options
def emit(kind: str, job_path: Path, output: Path | None, image: str) -> None:
    """Print the files that let systemd, cron or Kubernetes start a job.

    They contain no secrets, and no file that starts another job is replaced. The schedule lives in the job
    file: after a change there, emit again.
    """
    from batchexport.app.schedule import unit_files, write_unit_files

    texts = unit_files(kind, job_path, image=image, now=time.time())
    if output is None:
        for text in texts.values():
            click.echo(text)
        return
    for path in write_unit_files(output, job_path, texts):
        err(f"wrote {path}")


@click.command("run", cls=Command, epilog=RUN_EPILOG)
@click.argument("job_paths", metavar="JOBFILE...", nargs=-1, required=True, type=STATE_FILE)
@console_options
def keep(job_paths: tuple[Path, ...]) -> None:
    """Start jobs on schedule, until a signal ends it.

    For containers and for hosts without a timer. Each night is a process of its own; a job never overlaps
    itself. A start that was missed, because this was not running or the machine slept, is made up for while
    the window is open. SIGHUP reloads the job files. SIGINT, SIGTERM and the end of its terminal drain
    running nights.
    """
    from batchexport.app import run_in_loop
    from batchexport.cli.logs import start_log

    start_log(console_of())
    raise click.exceptions.Exit(run_in_loop(run_until_signal(job_paths, console_of())))


async def run_until_signal(
    paths: Sequence[Path],
    console: TerminalConsole,
    *,
    now: Callable[[], float] = time.time,
    start: Start | None = None,
) -> int:
    """Run the scheduler until a signal; its exit code. Raises ConfigError for a file that cannot be used."""
    from batchexport.app.scheduler import run_scheduler
    from batchexport.cli.signals import stop_on_signals

    reload, terminal = asyncio.Event(), _Terminal()

    def read_again() -> bool:
        if terminal.is_lost():
            return False
        reload.set()
        return True

    with stop_on_signals(
        err, first="running jobs are drained", second="exiting now", on_hangup=read_again
    ) as stop:
        start = start or child_of(console)
        await run_scheduler(paths, console, start=start, stop=stop.event, reload=reload, now=now)
    return stop.exit_code or 0


def child_of(console: TerminalConsole) -> Start:
    """What starts a night as a process that writes as much as this one."""
    from batchexport.app.scheduler import start_process

    verbosity = ["-v"] * console.verbose + ["-q"] * console.quiet
    log_file = [] if console.log_file is None else ["--log-file", str(console.log_file.path)]
    return start_process([*verbosity, "--log-format", console.log_format, *log_file])


class _Terminal:
    """The terminal that the program was started from, if any: SIGHUP may mean that it was closed."""

    def __init__(self) -> None:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup: it is to outlive the terminal
        self._was_there = not ignored and self._is_there()

    def is_lost(self) -> bool:
        """Whether it was there, and is closed now."""
        return self._was_there and not self._is_there()

    @staticmethod
    def _is_there() -> bool:
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True


for _command in (next_starts, emit, keep):
    schedule.add_command(_command)

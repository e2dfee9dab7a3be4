"""Events, metrics and notifications of a run: the options, and the moments at which a command feeds them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from batchexport.cli.console import Sinks, TerminalConsole, console_of, err, silence_stdout
from batchexport.cli.error_output import only_error
from batchexport.cli.options import Section, all_of, option
from batchexport.cli.parameters import FILE, Parsed
from batchexport.errors import BatchExportError, ConfigError
from batchexport.observe.metrics_server import parse_address

if TYPE_CHECKING:
    from batchexport.app.run import Observed
    from batchexport.engine import Connect
    from batchexport.observe.events import EventStream
    from batchexport.observe.run_observer import RunObserver
    from batchexport.store import StoreRef

log = logging.getLogger(__name__)


def _for_sinks(name: str) -> dict[str, Any]:
    """Attributes of an option that is kept with the program's sinks, whichever command it was given to."""

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(console_of(context).sinks, name, value)

    return {"expose_value": False, "callback": keep}


observe_options = all_of(
    option(
        "--events",
        metavar="FILE|-",
        help="Append events to a file, one JSON object per line; - is stdout.",
        **_for_sinks("events"),
    ),
    option(
        "--metrics-file",
        type=FILE,
        metavar="FILE",
        help="Write metrics to this file, for the textfile collector of Prometheus' node_exporter.",
        **_for_sinks("metrics_file"),
    ),
    option(
        "--metrics-addr",
        type=Parsed("address", parse_address),
        metavar="[HOST:]PORT",
        help="Serve metrics at http://HOST:PORT/metrics during the run; without HOST, to this machine only.",
        **_for_sinks("metrics_addr"),
    ),
    section=Section.EVENTS,
)


class Ending(msgspec.Struct):
    """How a run ended, for its observers; 1 until it is set."""

    exit_code: int = 1


@contextmanager
def observe_run(state_path: StoreRef, console: TerminalConsole) -> Iterator[Ending]:
    """Record and report the end of one run, however it ends. The caller sets the exit code."""
    ending = Ending()
    observer = _observer_of(console.sinks) if console.sinks.any else None
    began_at = time.time()

    def ended(exit_code: int, error: str | None) -> None:
        from batchexport.app.run import record_end

        job = console.sinks.name or None
        record_end(state_path, began_at=began_at, exit_code=exit_code, error=error, job=job)
        if observer is not None:
            observer.run_ended(state_path, exit_code, error)

    try:
        yield ending
    except BaseException as error:
        ended(*_ending_of(error))
        raise
    ended(ending.exit_code, None)


@contextmanager
def notify_on_exit(console: TerminalConsole) -> Iterator[None]:
    """Send the notifications of a whole command when it ends, however it ends."""
    try:
        yield
    except BaseException as error:
        if console.sinks.any:
            _notify_end(console.sinks, *_ending_of(error))
        raise
    if console.sinks.any:
        _notify_end(console.sinks, 0, None)


def report_on(state_path: StoreRef, console: TerminalConsole) -> None:
    """Let the notification at the end be about this run, whichever was worked on last."""
    if console.sinks.observer is not None and state_path.exists():
        console.sinks.observer.is_about(state_path)


@asynccontextmanager
async def instrument(
    state_path: StoreRef, console: TerminalConsole, connect: Connect
) -> AsyncIterator[Observed]:
    """Connections and callbacks of a run, instrumented for events and metrics while the context lasts."""
    from batchexport.app.run import Observed

    if not console.sinks.any:
        yield Observed(connect)
        return
    observer = _observer_of(console.sinks)
    async with observer.observing(state_path):
        yield Observed(observer.instrument(connect), observer.job_changed, observer.delivery_changed)


def _notify_end(sinks: Sinks, exit_code: int, error: str | None) -> None:
    try:
        _observer_of(sinks).end(exit_code, error)
    except KeyboardInterrupt:
        err("interrupted; some notifications may not have been sent")
    except ConfigError as unopened:
        # Already printed if it is what ended the command.
        if str(unopened) != error:
            err(f"notifications failed: {unopened}")
    finally:
        if sinks.event_writer is not None:
            sinks.event_writer.close()


def _observer_of(sinks: Sinks) -> RunObserver:
    if sinks.observer is None:
        from batchexport.observe.run_observer import RunObserver

        sinks.observer = RunObserver(
            name=sinks.name,
            events=_event_stream(sinks),
            events_broken=silence_stdout if sinks.stdout_is_taken else None,
            metrics_file=sinks.metrics_file,
            metrics_address=sinks.metrics_addr,
            notify=sinks.notify,
            reports=sinks.reports,
            notes=sinks.notes,
            say=console_of().info,
        )
    return sinks.observer


def _event_stream(sinks: Sinks) -> EventStream | None:
    """Where events go; None = nowhere. A file that cannot be written is a warning and ends no run."""
    from batchexport.background_writer import BackgroundWriter, DescriptorSink, FileSink
    from batchexport.observe.events import dropped_events

    if sinks.events is None:
        return None
    where = "stdout" if sinks.stdout_is_taken else sinks.events
    extra = {"action": "events", "path": where}
    try:
        sink = DescriptorSink(sys.stdout.fileno()) if sinks.stdout_is_taken else FileSink(Path(where))
    except UnsupportedOperation:
        return sys.stdout  # no file of the system stands behind it
    except OSError as error:
        log.warning(
            "--events: cannot write to %s: %s; continuing without", where, error.strerror, extra=extra
        )
        return None
    sinks.event_writer = BackgroundWriter(
        sink,
        dropped=dropped_events,
        trouble=lambda error: log.warning(
            "cannot write events to %s: %s", where, error.strerror, extra=extra
        ),
    )
    return sinks.event_writer


def _ending_of(error: BaseException) -> tuple[int, str | None]:
    """The exit code that an exception of a command leads to, and its text."""
    match error:
        case click.exceptions.Exit():
            cause = error.__cause__
            told = only_error(cause) if isinstance(cause, Exception) else cause
            return error.exit_code, None if told is None else str(told)
        case BatchExportError():
            return error.exit_code, str(error)
        case click.ClickException():
            return error.exit_code, error.format_message()
        case SystemExit(code=int(code)):
            return code, None
        case KeyboardInterrupt() | click.Abort():
            return 130, "interrupted"
    found = only_error(error) if isinstance(error, Exception) else error
    return 1, f"unexpected {type(found).__name__}: {found}"

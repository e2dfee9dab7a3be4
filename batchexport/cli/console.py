"""The console: verbosity, log format, and the single path of every line to stderr."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

import click

from batchexport.errors import ConfigError
from batchexport.redaction import redacted, register_secret

if TYPE_CHECKING:
    from pathlib import Path

    from batchexport.background_writer import BackgroundWriter
    from batchexport.cli.log_file import LogFile
    from batchexport.config.outputs import Notify, Reports
    from batchexport.observe.metrics_server import Address
    from batchexport.observe.run_observer import RunObserver

#: Foreground colour, bold and their end, as `marked` writes them.
_COLOUR = re.compile(r"(\x1b\[(?:3[0-7]|[01])m)")


class LogFormat(StrEnum):
    """The form of log lines."""

    TEXT = "text"
    JSON = "json"


@dataclass(slots=True, eq=False, repr=False)
class Sinks:
    """Sinks that are None or empty are disabled."""

    events: str | None = None  #: path, or - for stdout
    metrics_file: Path | None = None
    metrics_addr: Address | None = None
    notify: Notify | None = None
    reports: Reports | None = None
    name: str = ""  #: of the list or job file, for events and notifications
    notes: list[str] = field(default_factory=list)  #: warnings for the notification at the end
    observer: RunObserver | None = None  #: made when the first run begins
    event_writer: BackgroundWriter | None = None  #: where events go; closed when the command ends

    def take_from_job(self, name: str, notify: Notify | None, reports: Reports | None) -> None:
        """Add those whom the job file names. Raises ConfigError where a variable of `[notify]` is not set."""
        self.name, self.reports = name, reports
        if notify is not None and notify.unset:
            raise ConfigError(
                f"[notify] names variables that are not set: {', '.join(notify.unset)}",
                hint="set them in the environment of the run, for instance in an EnvironmentFile",
            )
        self.notify = notify
        if notify is not None:
            register_secret(*notify.secrets)

    @property
    def any(self) -> bool:
        """Whether any sink is enabled."""
        wished = (self.events, self.metrics_file, self.metrics_addr, self.notify)
        return any(wished) or bool(self.reports and self.reports.folder)

    @property
    def stdout_is_taken(self) -> bool:
        """Whether stdout carries events, so that nothing else may be printed there."""
        return self.events == "-"


@dataclass(slots=True, eq=False, repr=False)
class TerminalConsole:
    """What `-v`, `-q`, `--log-format` and `--events` and its like asked for; one per program, held by Click's
    root context.
    """

    verbose: int = 0
    quiet: bool = False
    log_format: str = LogFormat.TEXT
    log_file: LogFile | None = None  #: gets all that is told on stderr, and more
    sinks: Sinks = field(default_factory=Sinks)

    def info(self, text: str) -> None:
        """Report progress, unless `-q` asked for silence."""
        if not self.quiet:
            err(text)

    def notice(self, text: str) -> None:
        """Report what should be seen with `-q` too."""
        err(text)

    def warning(self, text: str, *, notify: bool = False) -> None:
        """Report what is wrong but ends nothing; with `notify`, also in the notification at the end."""
        err(text, level="warning")
        if notify and text not in self.sinks.notes:
            self.sinks.notes.append(text)


def console_of(context: click.Context | None = None) -> TerminalConsole:
    """The program's `TerminalConsole`; as nothing was asked for where no command runs yet."""
    context = context or click.get_current_context(silent=True)
    return TerminalConsole() if context is None else context.find_root().ensure_object(TerminalConsole)


def err(text: str, *, level: str = "info", **more: object) -> None:
    """Tell something on stderr. In the JSON form it is a log line of this level, and holds `more` as well."""
    context = click.get_current_context(silent=True)
    if context is not None:
        console, now = console_of(context), datetime.now(UTC)
        if console.log_file is not None:
            console.log_file.write(now, level, text, more)
        if console.log_format == LogFormat.JSON:
            text = json_line(now, level, "batchexport", text, more)
    write(text)


def json_line(at: datetime, level: str, logger: str, message: str, more: Mapping[str, object]) -> str:
    """One line of the JSON form of the log."""
    import json  # a tenth of what `--version` costs beside Click, and of no use to it

    time = at.isoformat(timespec="milliseconds")
    line = {"time": time, "level": level, "logger": logger, "message": click.unstyle(message), **more}
    return json.dumps(line, ensure_ascii=False, default=str)


_taker: Callable[[str], None] | None = None  # of lines for stderr, during a run


def write(text: str) -> None:
    """Print a line on stderr, above the progress where there is any, and without secrets."""
    text = _plain(redacted(text))
    if _taker is not None:
        _taker(text)
        return
    # A closed stderr or a full disk must not end a run.
    with suppress(OSError):
        click.echo(text, err=True)


def _plain(text: str) -> str:
    """The text without what could steer a terminal, but for the colours of our own marks."""
    if text.isprintable():
        return text
    from batchexport.report.text import escape_controls  # nothing that only helps has to load it

    if "\x1b[" not in text or not on_terminal():
        return escape_controls(text)
    return "".join(part if _COLOUR.fullmatch(part) else escape_controls(part) for part in _COLOUR.split(text))


@contextmanager
def lines_go_to(taker: Callable[[str], None]) -> Iterator[None]:
    """Give the lines for stderr to `taker` while the context lasts."""
    global _taker
    before, _taker = _taker, taker
    try:
        yield
    finally:
        _taker = before


def out(text: str) -> None:
    """Print data on stdout; a reader who went away is not worth an error."""
    from batchexport.report.text import escape_controls

    try:
        click.echo(escape_controls(text))
    except OSError as error:
        if not is_gone(error):
            raise
        silence_stdout()


def is_gone(error: OSError) -> bool:
    """Whether the reader has gone: a broken pipe or a closed terminal."""
    return error.errno in (errno.EPIPE, errno.EIO)


def silence_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush meets no broken pipe either."""
    _silence(sys.stdout)


def flush_output() -> None:
    """Write what is left for stdout and stderr. The interpreter would end with exit code 120 where nobody
    reads it; a disk that is full is told, for then something is missing.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            _silence(stream)
            if not is_gone(error) and stream is sys.stdout:
                err(f"error: cannot write to standard output: {error.strerror}")
                raise SystemExit(74) from error


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def out_or_err(text: str) -> None:
    """Print data on stdout, or on stderr where stdout takes none: what was done must not be lost by that.

    The log file gets it, too.
    """
    log_file = console_of().log_file
    if log_file is not None:
        log_file.write(datetime.now(UTC), "info", text, {})
    try:
        out(text)
    except OSError:
        silence_stdout()
        err(text)


def on_terminal() -> bool:
    """Whether stderr is a terminal that can be painted on."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def marked(word: str, colour: str) -> str:
    """The word in a colour, on a terminal whose user did not set NO_COLOR."""
    coloured = on_terminal() and not os.environ.get("NO_COLOR")
    return click.style(word, fg=colour, bold=True) if coloured else word

"""`--log-file`: what is told on stderr, and more, in a file that survives the terminal."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from batchexport.background_writer import BackgroundWriter, FileSink
from batchexport.cli.console import LogFormat, TerminalConsole, json_line, write
from batchexport.errors import ConfigError
from batchexport.redaction import redacted
from batchexport.report.text import escape_controls


class LogFile:
    """Appends to the file, in the background: a slow disk holds nothing up. Log rotation may move it away."""

    def __init__(self, path: Path, console: TerminalConsole) -> None:
        """Raises ConfigError where the file cannot be opened."""
        self.path = path
        self._console = console
        try:
            sink = FileSink(path)
        except OSError as error:
            raise ConfigError(f"--log-file: cannot write to {path}: {error.strerror}") from error
        self._writer = BackgroundWriter(sink, dropped=_dropped, trouble=self._failed)
        atexit.register(self._writer.close)

    @property
    def is_json(self) -> bool:
        """Whether each message is one JSON object."""
        return self._console.log_format == LogFormat.JSON

    def write(
        self, at: datetime, level: str, text: str, more: Mapping[str, object], logger: str = "batchexport"
    ) -> None:
        """Append one message, in the form that `--log-format` asks for, without secrets and colours."""
        text = click.unstyle(text)
        if self.is_json:
            line = json_line(at, level, logger, text, more)
        else:
            line = escape_controls(f"{at.strftime('%Y-%m-%dT%H:%M:%SZ')} {level.upper()} {text}")
        try:
            self._writer.write(redacted(line) + "\n")
        except OSError:  # nobody reads the pipe any more: that ends no run
            return

    def _failed(self, error: OSError) -> None:
        write(f"warning: cannot write to the log file {self.path}: {error.strerror}; continuing")


def _dropped(lines: int) -> str:
    return f"… {lines} lines left out: the file could not be written\n"


class LogFileHandler(logging.Handler):
    """Log records for the file. As far as these exist, `extra` goes with them."""

    def __init__(self, log_file: LogFile, plain: frozenset[str]) -> None:
        """`plain` are the attributes that every record has."""
        super().__init__()
        self._log_file = log_file
        self._plain = plain

    def emit(self, record: logging.LogRecord) -> None:
        """Append it; what cannot be written must not end the run."""
        try:
            more = {name: value for name, value in record.__dict__.items() if name not in self._plain}
            text = record.getMessage()
            if record.exc_info:
                trace = logging.Formatter().formatException(record.exc_info)
                more["traceback"] = trace
                text = text if self._log_file.is_json else f"{text}\n{trace}"
            at = datetime.fromtimestamp(record.created, UTC)
            self._log_file.write(at, record.levelname.lower(), text, more, record.name)
        except Exception:  # the contract of logging
            self.handleError(record)

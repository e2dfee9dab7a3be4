"""The program's log on stderr, as text or as one JSON object per line."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from batchexport.cli.console import LogFormat, TerminalConsole, json_line, write
from batchexport.log_level import NOTICE

#: What every log record has by itself; anything else came in through `extra`.
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


SIGN_IN_LIBRARIES = ("keystoneauth", "openstack")


class ScreenHandler(logging.Handler):
    """Writes records to stderr without breaking progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write(self.format(record))
        except Exception:  # the contract of logging: a record that cannot be written must not end the run
            self.handleError(record)


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and what `extra` added."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        more = {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
        if record.exc_info:
            more["traceback"] = self.formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC)
        return json_line(at, record.levelname.lower(), record.name, record.getMessage(), more)


def level(console: TerminalConsole) -> int:
    """The level from which records are shown."""
    if console.quiet:
        return logging.ERROR
    return {0: NOTICE, 1: logging.INFO}.get(console.verbose, logging.DEBUG)


def start_log(console: TerminalConsole) -> None:
    """Send the program's own log to stderr. May be called again: the last call counts.

    Of the libraries that sign in, only errors are told, with `-v` warnings: their debug logs hold headers.
    """
    handler = ScreenHandler()
    as_json = console.log_format == LogFormat.JSON
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    logger = logging.getLogger("batchexport")
    handlers: list[logging.Handler] = [handler]
    handler.setLevel(lowest := level(console))
    if console.log_file is not None:
        from batchexport.cli.log_file import LogFileHandler

        for_file = LogFileHandler(console.log_file, _PLAIN)
        for_file.setLevel(logging.DEBUG if console.verbose > 1 else logging.INFO)
        handlers.append(for_file)
        lowest = min(lowest, for_file.level)
    logger.handlers = handlers
    logger.setLevel(lowest)
    for name in SIGN_IN_LIBRARIES:
        library = logging.getLogger(name)
        library.handlers = handlers
        library.setLevel(logging.WARNING if console.verbose and not console.quiet else logging.ERROR)

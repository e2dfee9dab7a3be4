"""The program's log on stderr, as text or as one JSON object per line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from batchexport.cli.talk import LogFormat, Talk, say

#: What every log record has by itself; anything else came in through `extra`.
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class ScreenHandler(logging.Handler):
    """Writes records to stderr without breaking progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self.format(record))
        except Exception:  # the contract of logging: a record that cannot be written must not end the run
            self.handleError(record)


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and what `extra` added."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def level(talk: Talk) -> int:
    """The level from which records are shown."""
    if talk.quiet:
        return logging.ERROR
    return {0: logging.WARNING, 1: logging.INFO}.get(talk.verbose, logging.DEBUG)


def start_log(talk: Talk) -> None:
    """Send the program's own log to stderr. May be called again: the last call counts.

    Other libraries' logs stay out: at their debug level some of them print headers.
    """
    handler = ScreenHandler()
    as_json = talk.log_format == LogFormat.JSON
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    logger = logging.getLogger("batchexport")
    logger.handlers = [handler]
    logger.setLevel(level(talk))

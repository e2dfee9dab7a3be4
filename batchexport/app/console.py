"""Where a use case reports progress: to a terminal, a log, or nowhere."""

from __future__ import annotations

import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Console(Protocol):
    """Where progress and warnings go. Results are return values."""

    def info(self, text: str) -> None:
        """Report progress; left out where silence was asked for."""

    def notice(self, text: str) -> None:
        """Report what should be seen in any case."""

    def warning(self, text: str, *, notify: bool = False) -> None:
        """Report what is wrong but ends nothing; with `notify`, also in the notification at the end."""


class NullConsole:
    """Discards everything."""

    def info(self, text: str) -> None:
        """Discard it."""

    def notice(self, text: str) -> None:
        """Discard it."""

    def warning(self, text: str, *, notify: bool = False) -> None:
        """Discard it."""


class LogConsole:
    """Progress and warnings as records of this package's logger."""

    def info(self, text: str) -> None:
        """Log it as INFO."""
        log.info("%s", text, extra={"action": "remark"})

    def notice(self, text: str) -> None:
        """Log it as INFO."""
        log.info("%s", text, extra={"action": "remark"})

    def warning(self, text: str, *, notify: bool = False) -> None:
        """Log it as WARNING."""
        log.warning("%s", text, extra={"action": "remark"})

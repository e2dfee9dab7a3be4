"""The metrics as a file for node_exporter's textfile collector, whole at every moment."""

from __future__ import annotations

import logging
from pathlib import Path

from batchexport.tell.metrics import RunMetrics
from batchexport.whole_file import write_whole

log = logging.getLogger(__name__)

_LAST_SUCCESS = "batchexport_last_success_timestamp_seconds"


class MetricsFile:
    """Writes the metrics; what cannot be written is told once and tried again each time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned = False

    def last_success_at(self) -> float | None:
        """When a run last succeeded, by what an earlier one wrote; None where none did."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            found = [line.split()[1] for line in lines if line.startswith(f"{_LAST_SUCCESS} ")]
            return float(found[0]) if found else None
        except (OSError, ValueError, IndexError) as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("the time of the last success is not known: cannot read %s: %s", self.path, error)
            return None

    def write(self, metrics: RunMetrics) -> None:
        """Put the metrics as they are now in the place of those before."""
        self.put(metrics.text())

    def put(self, text: str) -> None:
        """Put this text in the place of the one before. May be called in a thread."""
        try:
            # Another user reads it, the collector's, however careful the umask is of the other files; and a
            # pipe that nobody empties must not hold the run up.
            write_whole(self.path, [text], mode=0o644, wait=False)
            self._warned = False
        except OSError as error:
            if not self._warned:
                log.warning("cannot write the metrics to %s: %s", self.path, error.strerror)
            self._warned = True

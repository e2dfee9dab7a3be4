"""Where the events of `--events` go: a file or stdout, and neither can hold up a run."""

from __future__ import annotations

import logging
import sys
from io import UnsupportedOperation
from pathlib import Path

from batchexport.background_writer import BackgroundWriter, DescriptorSink, FileSink
from batchexport.cli.sinks import Sinks
from batchexport.observe.events import EventStream, dropped_events

log = logging.getLogger(__name__)


def event_stream(sinks: Sinks) -> EventStream | None:
    """Where events go; None = nowhere, which is told where it was asked otherwise: no run ends by it."""
    if sinks.events is None:
        return None
    where = "stdout" if sinks.stdout_is_taken else sinks.events
    try:
        sink = DescriptorSink(sys.stdout.fileno()) if sinks.stdout_is_taken else FileSink(Path(where))
    except UnsupportedOperation:
        return sys.stdout  # no file of the system stands behind it
    except OSError as error:
        log.warning("--events: cannot write to %s: %s; the run goes on without", where, error.strerror)
        return None
    sinks.event_writer = BackgroundWriter(
        sink,
        dropped=dropped_events,
        trouble=lambda error: log.warning("events cannot be written to %s: %s", where, error.strerror),
    )
    return sinks.event_writer

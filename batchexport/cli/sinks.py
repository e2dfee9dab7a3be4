"""Events, metrics, notifications and reports that flags and job file ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchexport.errors import ConfigError
from batchexport.redaction import register_secret

if TYPE_CHECKING:
    from pathlib import Path

    from batchexport.background_writer import BackgroundWriter
    from batchexport.config.outputs import Notify, Reports
    from batchexport.observe.metrics_server import Address
    from batchexport.observe.run_observer import RunObserver


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

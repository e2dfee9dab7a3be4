"""The schedule of a job file, for the commands that need one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from batchexport.cli.options import ALLOWED
from batchexport.config.jobfile import read_job_file
from batchexport.config.schedule import ScheduleConfig
from batchexport.errors import ConfigError
from batchexport.model import InUse
from batchexport.scheduling.cron import Schedule, clock_changes, told
from batchexport.scheduling.window import opening_at


class ScheduledJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job file that says when it starts."""

    path: Path  #: absolute
    schedule: Schedule
    nights: ScheduleConfig
    stops_servers: bool = False
    writes_to: tuple[Path, ...] = ()  #: the folders of its state files and reports


def scheduled_job(path: Path) -> ScheduledJob:
    """The job file with its schedule. Raises ConfigError where it has problems, or says no time."""
    job_file = read_job_file(path, allowed=ALLOWED)
    if job_file.nights.schedule is None:
        raise ConfigError(
            f"{path}: no time to start at",
            hint="add a [schedule] with cron and time_zone, or a [window] with hours and time_zone",
        )
    state_path, reports = job_file.state_path or job_file.list_path, job_file.reports
    folders = (
        job_file.nights.state_dir or (state_path.parent if state_path else None),
        reports.folder if reports else None,
    )
    return ScheduledJob(
        path=path.absolute(),
        schedule=job_file.nights.schedule,
        nights=job_file.nights,
        stops_servers=job_file.layer.in_use is InUse.STOP,
        writes_to=tuple(folder for folder in folders if folder is not None),
    )


def warnings(job: ScheduledJob, starts: Iterable[float], *, now: float) -> Iterator[str]:
    """What is odd about the times of a job: those of clock changes, and starts while its window is closed."""
    zone = job.schedule.zone
    for change in clock_changes(job.schedule, now):
        what = "does not exist" if change.skipped else "comes twice"
        yield (
            f"{change.at:%Y-%m-%d %H:%M} {what}, for the clocks change: the start is at"
            f" {told(change.starts_at, zone)}; systemd and Kubernetes may do otherwise"
        )
    for at in starts:
        if job.nights.window and opening_at(job.nights.window, at) is None:
            yield f"the window is closed at {told(at, zone)}: that start does nothing"

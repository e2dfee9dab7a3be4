"""When a job file starts, and the files that make another program start it: systemd, cron, Kubernetes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from batchexport.config.jobfile import read_job_file
from batchexport.config.schedule import ScheduleConfig
from batchexport.dialect import ALLOWED
from batchexport.errors import ConfigError
from batchexport.files import write_whole
from batchexport.model import InUse
from batchexport.scheduling.cron import Schedule, clock_changes, told
from batchexport.scheduling.crontab import crontab
from batchexport.scheduling.kubernetes import cron_job
from batchexport.scheduling.systemd import service, timer
from batchexport.scheduling.unit_spec import UnitSpec
from batchexport.scheduling.window import opening_at


class ScheduledJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job file that says when it starts."""

    path: Path  #: absolute
    schedule: Schedule
    config: ScheduleConfig
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
        config=job_file.nights,
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
        if job.config.window and opening_at(job.config.window, at) is None:
            yield f"the window is closed at {told(at, zone)}: that start does nothing"


def unit_files(kind: str, job_path: Path, *, image: str, now: float) -> dict[str, str]:
    """The texts by their file names. Raises ConfigError for a schedule that `kind` cannot keep, and a path
    that cannot be written into one.
    """
    spec = unit_spec(job_path)
    if kind == "systemd":
        return {f"{spec.name}.service": service(spec), f"{spec.name}.timer": timer(spec)}
    if kind == "cron":
        return {f"{spec.name}.crontab": crontab(spec, host_zone=host_zone(), now=now)}
    return {f"{spec.name}.yaml": cron_job(spec, image=image)}


def unit_spec(job_path: Path) -> UnitSpec:
    """What is to be started for this job file, and when. Raises ConfigError."""
    job = scheduled_job(job_path)
    clouds = os.environ.get("OS_CLIENT_CONFIG_FILE")
    spec = UnitSpec(
        job_path=job.path,
        schedule=job.schedule,
        window=job.config.window,
        program=this_program(),
        stops_servers=job.stops_servers,
        writes_to=tuple(path.absolute() for path in job.writes_to),
        clouds_path=Path(clouds).absolute() if clouds else None,
    )
    for path in (spec.job_path, *spec.writes_to, spec.clouds_path):
        if path is not None and not str(path).isprintable():
            raise ConfigError(
                f"{str(path)!r}: a line break or another invisible character in this path could become a line"
                " of its own in what is emitted",
                hint="rename it, then emit again; nothing was written",
            )
    return spec


def write_unit_files(folder: Path, job_path: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the texts into the folder. Raises ConfigError rather than replace what starts another job."""
    spec = unit_spec(job_path)
    for name in texts:
        path = folder / name
        if path.exists() and not spec.is_mine(path.read_text(encoding="utf-8", errors="replace")):
            raise ConfigError(
                f"{path} already exists and starts another job",
                hint=f"rename {spec.job_path.name}, or name another folder; nothing was written",
            )
    for name, text in texts.items():
        write_whole(folder / name, [text])
    return [folder / name for name in texts]


def this_program() -> tuple[str, ...]:
    """The command line that starts this program from anywhere: the installed command, else the module.

    -P: nothing in the current folder is taken for a part of it.
    """
    command = Path(sys.executable).with_name("batchexport")
    found = str(command) if command.exists() else shutil.which("batchexport")
    return (found,) if found else (sys.executable, "-P", "-m", "batchexport")


def host_zone(root: Path = Path("/")) -> ZoneInfo:
    """The time zone of this host: TZ, else what /etc says, else UTC."""
    link = root / "etc/localtime"
    named = root / "etc/timezone"
    candidates = [
        os.environ.get("TZ", "").removeprefix(":"),
        str(link.resolve()).partition("/zoneinfo/")[2] if link.exists() else "",
        named.read_text(encoding="utf-8").strip() if named.exists() else "",
    ]
    for name in filter(None, candidates):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            continue
    return ZoneInfo("UTC")

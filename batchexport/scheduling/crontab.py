"""A crontab, in the host's time zone: Debian's cron does not support CRON_TZ."""

from __future__ import annotations

import shlex
from collections import defaultdict
from datetime import datetime
from zoneinfo import ZoneInfo

from batchexport.errors import ConfigError
from batchexport.scheduling.cron import DAY_S, Schedule, starts
from batchexport.scheduling.unit_spec import UnitSpec

_YEAR_S = 366 * DAY_S


def crontab(spec: UnitSpec, *, host_zone: ZoneInfo, now: float) -> str:
    """Lines for `crontab -e`, with comments. Raises ConfigError for what host time cannot express."""
    schedule = spec.schedule
    lines = [
        f"# batchexport, the nights of {spec.job_path.name}: {schedule.cron} in {schedule.zone.key}",
        spec.mark,
        f"# Times are in this host's time zone, {host_zone.key}: cron supports no other.",
    ]
    times = host_times(schedule, host_zone, now)
    if times != [schedule.cron]:
        lines.append("# Both the summer and the winter hour are listed; each night still starts only once.")
    lines.append("# Exit code 75: the window closed with work left; the next run resumes it.")
    command = _command(spec)
    return "\n".join([*lines, *(f"{time} {command}" for time in times)]) + "\n"


def host_times(schedule: Schedule, host_zone: ZoneInfo, now: float) -> list[str]:
    """Cron expressions in host time that match every start of the coming year."""
    if schedule.zone.key == host_zone.key:
        return [schedule.cron]
    if schedule.cron.split()[2:4] != ["*", "*"]:
        raise ConfigError(
            f'schedule "{schedule.cron}" names days of the month in {schedule.zone.key}, but this host is in'
            f" {host_zone.key}, where they may be other days",
            hint="emit it for systemd, or write the schedule in the host's time zone",
        )
    minutes: dict[tuple[int, int], set[int]] = defaultdict(set)
    for at in starts(schedule, now):
        if at > now + _YEAR_S:
            break
        local = datetime.fromtimestamp(at, host_zone)
        minutes[local.isoweekday() % 7, local.hour].add(local.minute)
    return _joined(minutes)


def _joined(minutes: dict[tuple[int, int], set[int]]) -> list[str]:
    """One expression for all hours and weekdays that share their minutes."""
    days: dict[tuple[int, tuple[int, ...]], set[int]] = defaultdict(set)
    for (weekday, hour), found in minutes.items():
        days[hour, tuple(sorted(found))].add(weekday)
    hours: dict[tuple[tuple[int, ...], tuple[int, ...]], set[int]] = defaultdict(set)
    for (hour, when), weekdays in days.items():
        hours[when, tuple(sorted(weekdays))].add(hour)
    return sorted(
        f"{_listed(when, 60)} {_listed(hour, 24)} * * {_listed(weekdays, 7)}"
        for (when, weekdays), hour in hours.items()
    )


def _listed(values: set[int] | tuple[int, ...], count: int) -> str:
    return "*" if len(values) == count else ",".join(map(str, sorted(values)))


def _command(spec: UnitSpec) -> str:
    """The shell command of the crontab line, with % escaped: cron would end the line there."""
    job = str(spec.job_path)
    # cd: relative paths resolve as they do for a person in that folder. flock: no mail about a night that is
    # already running.
    go = shlex.join(("cd", str(spec.job_path.parent)))
    run = shlex.join(("flock", "-n", job, *spec.program, "run", "--quiet", job))
    pinned = f"OS_CLIENT_CONFIG_FILE={shlex.quote(str(spec.clouds_path))} " if spec.clouds_path else ""
    return f"{go} && {pinned}{run}".replace("%", r"\%")

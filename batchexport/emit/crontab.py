"""A crontab. Its times are those of the host: the cron of Debian knows no CRON_TZ."""

from __future__ import annotations

import shlex
from collections import defaultdict
from datetime import datetime
from zoneinfo import ZoneInfo

from batchexport.emit.order import StartOrder
from batchexport.errors import ConfigError
from batchexport.schedule import DAY_S, Schedule, starts

_YEAR_S = 366 * DAY_S


def crontab(order: StartOrder, *, host_zone: ZoneInfo, now: float) -> str:
    """Lines for `crontab -e`, with comments. Raises ConfigError for what host time cannot say."""
    schedule = order.schedule
    lines = [
        f"# batchexport, the nights of {order.job_path.name}: {schedule.cron} in {schedule.zone.key}",
        order.mark,
        f"# Written in this host's time, {host_zone.key}: cron reads no other.",
    ]
    times = host_times(schedule, host_zone, now)
    if times != [schedule.cron]:
        lines.append("# Every hour that it can be here, summer and winter: each night is begun once.")
    lines.append("# Exit code 75 means that the window closed with work left; the next night goes on.")
    command = _command(order)
    return "\n".join([*lines, *(f"{time} {command}" for time in times)]) + "\n"


def host_times(schedule: Schedule, host_zone: ZoneInfo, now: float) -> list[str]:
    """Cron expressions in host time that are true at every start of the coming year."""
    if schedule.zone.key == host_zone.key:
        return [schedule.cron]
    if schedule.cron.split()[2:4] != ["*", "*"]:
        raise ConfigError(
            f'schedule "{schedule.cron}" names days of the month in {schedule.zone.key}, and this host keeps'
            f" {host_zone.key}: there they may be other days",
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


def _command(order: StartOrder) -> str:
    """What cron hands to the shell: a bare % would end the line there."""
    job = str(order.job_path)
    # As a person does it there: whatever is found by the current folder is found by cron, too. The lock keeps
    # cron from mailing about a night that is at work already.
    go = shlex.join(("cd", str(order.job_path.parent)))
    run = shlex.join(("flock", "-n", job, *order.program, "run", "--quiet", job))
    pinned = f"OS_CLIENT_CONFIG_FILE={shlex.quote(str(order.clouds_path))} " if order.clouds_path else ""
    return f"{go} && {pinned}{run}".replace("%", r"\%")

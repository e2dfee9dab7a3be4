"""A systemd service and its timer."""

from __future__ import annotations

from pathlib import Path

from batchexport.emit.order import StartOrder
from batchexport.errors import ConfigError
from batchexport.schedule import Schedule, fields_of

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")

_SERVICE = """\
# {name}.service
{mark}
[Unit]
Description=batchexport, a night of {job}
Wants=network-online.target
After=network-online.target

[Service]
# A oneshot service never runs twice at once.
Type=oneshot
ExecStart={command}
WorkingDirectory={folder}
# OS_CLOUD, OS_CLIENT_CONFIG_FILE and the like; the dash: it need not be there.
EnvironmentFile=-/etc/batchexport/{name}.env
{environment}# 75: the window closed with work left, or was closed. The next night goes on.
SuccessExitStatus=75
TimeoutStartSec=infinity
# The first SIGTERM drains: requests under way get their answers, the cloud goes on working{and_servers}.
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec={stop}
# No core file: it would hold what the run signed in with.
LimitCORE=0
UMask=0077
# Left to it: the network, and the folders of its state files and reports. Add others that it is to write to
# below /etc, /usr or a home, such as that of a metrics file.
ProtectSystem=full
ProtectHome=read-only
{writes_to}
# As root it reads and writes files of others; with User= that can go, too.
CapabilityBoundingSet=CAP_DAC_OVERRIDE
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""

_TIMER = """\
# {name}.timer
{mark}
[Unit]
Description=Starts batchexport for the nights of {job}

[Timer]
{calendar}
# A start that was missed is made up for, at noon too: the program itself looks whether its window is open.
Persistent=true

[Install]
WantedBy=timers.target
"""


def service(order: StartOrder) -> str:
    """The unit that works through one night."""
    words = (*order.program, "run", str(order.job_path))
    clouds = (
        f"Environment={_word(f'OS_CLIENT_CONFIG_FILE={order.clouds_path}')}\n" if order.clouds_path else ""
    )
    return _SERVICE.format(
        name=order.name,
        mark=order.mark,
        job=_plain(order.job_path.name),
        command=" ".join(map(_word, words)),
        folder=_plain(str(order.job_path.parent)),
        environment=clouds,
        and_servers=",\n# and servers that were stopped are started, as soon as their copies are done"
        if order.stops_servers
        else "",
        stop="infinity" if order.stops_servers else 180,
        writes_to="\n".join(f"ReadWritePaths={_path(path)}" for path in _folders(order)),
    )


def timer(order: StartOrder) -> str:
    """The unit that starts it."""
    calendar = "\n".join(f"OnCalendar={event}" for event in calendar_events(order.schedule))
    return _TIMER.format(name=order.name, mark=order.mark, job=_plain(order.job_path.name), calendar=calendar)


def calendar_events(schedule: Schedule) -> list[str]:
    """The schedule as calendar events. Raises ConfigError for what they cannot say."""
    fields = fields_of(schedule)
    if fields is None:
        raise ConfigError(
            f'schedule "{schedule.cron}": systemd knows no last day or n-th weekday of a month',
            hint="emit it for cron, or let `batchexport schedule run` start it",
        )
    clock = f"{_listed(fields.hours, 24)}:{_listed(fields.minutes, 60)}:00 {schedule.zone.key}"
    months, days = _listed(fields.months, 12), _listed(fields.days, 31)
    weekdays = ""
    if len(fields.weekdays) < 7:
        weekdays = ",".join(_WEEKDAYS[day] for day in sorted(fields.weekdays)) + " "
    if fields.either_day:  # cron takes a day that is named either way, one event takes both together
        return [f"*-{months}-{days} {clock}", f"{weekdays}*-{months}-* {clock}"]
    return [f"{weekdays}*-{months}-{days} {clock}"]


def _listed(values: frozenset[int], count: int) -> str:
    return "*" if len(values) == count else ",".join(f"{value:02}" for value in sorted(values))


def _word(text: str) -> str:
    """One word of a command line; systemd expands % and $ and splits at spaces."""
    plain = _plain(text).replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"' if any(sign in text for sign in " \t\"'\\;#") else plain


def _folders(order: StartOrder) -> list[Path]:
    return sorted({order.job_path.parent, *order.writes_to})


def _path(path: Path) -> str:
    """One path of a list; the minus: it need not be there yet."""
    return _word(f"-{path}")


def _plain(text: str) -> str:
    return text.replace("%", "%%")

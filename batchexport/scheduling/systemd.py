"""A systemd service and its timer."""

from __future__ import annotations

from pathlib import Path

from batchexport.errors import ConfigError
from batchexport.scheduling.cron import Schedule, fields_of
from batchexport.scheduling.unit_spec import UnitSpec

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")

_SERVICE = """\
# {name}.service
{mark}
[Unit]
Description=batchexport, job {job}
Wants=network-online.target
After=network-online.target

[Service]
# A oneshot service never runs twice at the same time.
Type=oneshot
ExecStart={command}
WorkingDirectory={folder}
# OS_CLOUD, OS_CLIENT_CONFIG_FILE and the like; with the dash, the file is optional.
EnvironmentFile=-/etc/batchexport/{name}.env
{environment}# 75: the window was closed, or closed with work left. The next start resumes the run.
SuccessExitStatus=75
TimeoutStartSec=infinity
# The first SIGTERM drains: requests in flight finish, exports continue in the cloud{and_servers}.
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec={stop}
# No core file: it would contain the credentials.
LimitCORE=0
UMask=0077
# It may write to the folders of its state files and reports. Add any other folder below /etc, /usr or a home
# that it must write to, such as the one of a metrics file.
ProtectSystem=full
ProtectHome=read-only
{writes_to}
# As root it reads and writes other users' files; with User= this can be removed, too.
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
# A missed start is made up for, even at noon: the program itself checks whether its window is open.
Persistent=true

[Install]
WantedBy=timers.target
"""


def service(spec: UnitSpec) -> str:
    """The service unit that runs one night."""
    words = (*spec.program, "run", str(spec.job_path))
    clouds = f"Environment={_word(f'OS_CLIENT_CONFIG_FILE={spec.clouds_path}')}\n" if spec.clouds_path else ""
    return _SERVICE.format(
        name=spec.name,
        mark=spec.mark,
        job=_plain(spec.job_path.name),
        command=" ".join(map(_word, words)),
        folder=_plain(str(spec.job_path.parent)),
        environment=clouds,
        and_servers=",\n# and stopped servers are restarted as soon as their exports are done"
        if spec.stops_servers
        else "",
        stop="infinity" if spec.stops_servers else 180,
        writes_to="\n".join(f"ReadWritePaths={_path(path)}" for path in _folders(spec)),
    )


def timer(spec: UnitSpec) -> str:
    """The timer unit that starts the service."""
    calendar = "\n".join(f"OnCalendar={event}" for event in calendar_events(spec.schedule))
    return _TIMER.format(name=spec.name, mark=spec.mark, job=_plain(spec.job_path.name), calendar=calendar)


def calendar_events(schedule: Schedule) -> list[str]:
    """The schedule as calendar events. Raises ConfigError for a schedule they cannot express."""
    fields = fields_of(schedule)
    if fields is None:
        raise ConfigError(
            f'schedule "{schedule.cron}": systemd supports no last day or n-th weekday of a month',
            hint="emit it for cron, or let `batchexport schedule run` start it",
        )
    clock = f"{_listed(fields.hours, 24)}:{_listed(fields.minutes, 60)}:00 {schedule.zone.key}"
    months, days = _listed(fields.months, 12), _listed(fields.days, 31)
    weekdays = ""
    if len(fields.weekdays) < 7:
        weekdays = ",".join(_WEEKDAYS[day] for day in sorted(fields.weekdays)) + " "
    if fields.either_day:  # cron matches either field, a single event both
        return [f"*-{months}-{days} {clock}", f"{weekdays}*-{months}-* {clock}"]
    return [f"{weekdays}*-{months}-{days} {clock}"]


def _listed(values: frozenset[int], count: int) -> str:
    return "*" if len(values) == count else ",".join(f"{value:02}" for value in sorted(values))


def _word(text: str) -> str:
    """One word of a command line, quoted: systemd expands % and $ and splits at spaces."""
    plain = _plain(text).replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"' if any(sign in text for sign in " \t\"'\\;#") else plain


def _folders(spec: UnitSpec) -> list[Path]:
    return sorted({spec.job_path.parent, *spec.writes_to})


def _path(path: Path) -> str:
    """One path of a list; with the minus, it need not exist yet."""
    return _word(f"-{path}")


def _plain(text: str) -> str:
    return text.replace("%", "%%")

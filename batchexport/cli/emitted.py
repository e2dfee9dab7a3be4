"""The files that make another program start a job here: how this one is called, and whose time cron reads."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batchexport import emit
from batchexport.cli.job_schedule import scheduled_job
from batchexport.emit import StartOrder
from batchexport.errors import ConfigError
from batchexport.whole_file import write_whole


def emitted(kind: str, job_path: Path, *, image: str, now: float) -> dict[str, str]:
    """The texts by their file names. Raises ConfigError for a schedule that `kind` cannot keep, and a path
    that cannot be written into one.
    """
    order = start_order(job_path)
    if kind == "systemd":
        return {f"{order.name}.service": emit.service(order), f"{order.name}.timer": emit.timer(order)}
    if kind == "cron":
        return {f"{order.name}.crontab": emit.crontab(order, host_zone=host_zone(), now=now)}
    return {f"{order.name}.yaml": emit.cron_job(order, image=image)}


def start_order(job_path: Path) -> StartOrder:
    """What is to be started for this job file, and when. Raises ConfigError."""
    job = scheduled_job(job_path)
    clouds = os.environ.get("OS_CLIENT_CONFIG_FILE")
    order = StartOrder(
        job_path=job.path,
        schedule=job.schedule,
        window=job.nights.window,
        program=this_program(),
        stops_servers=job.stops_servers,
        writes_to=tuple(path.absolute() for path in job.writes_to),
        clouds_path=Path(clouds).absolute() if clouds else None,
    )
    for path in (order.job_path, *order.writes_to, order.clouds_path):
        if path is not None and not str(path).isprintable():
            raise ConfigError(
                f"{str(path)!r}: a line break or another invisible character in this path could become a line"
                " of its own in what is emitted",
                hint="rename it, then emit again; nothing was written",
            )
    return order


def write_emitted(folder: Path, job_path: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the texts into the folder. Raises ConfigError rather than replace what starts another job."""
    order = start_order(job_path)
    for name in texts:
        path = folder / name
        if path.exists() and not order.is_mine(path.read_text(encoding="utf-8", errors="replace")):
            raise ConfigError(
                f"{path} is there already and starts another job",
                hint=f"rename {order.job_path.name}, or name another folder; nothing was written",
            )
    for name, text in texts.items():
        write_whole(folder / name, [text])
    return [folder / name for name in texts]


def this_program() -> tuple[str, ...]:
    """The words that call this program from anywhere: the installed command, else the module.

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

"""The files that make another program start a job here: how this one is called, and whose time cron reads."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batchexport import emit
from batchexport.cli.job_schedule import scheduled_job
from batchexport.emit import StartOrder


def emitted(kind: str, job_path: Path, *, image: str, now: float) -> dict[str, str]:
    """The texts by their file names. Raises ConfigError for a schedule that `kind` cannot keep."""
    job = scheduled_job(job_path)
    order = StartOrder(
        job_path=job.path, schedule=job.schedule, window=job.nights.window, program=this_program()
    )
    if kind == "systemd":
        return {f"{order.name}.service": emit.service(order), f"{order.name}.timer": emit.timer(order)}
    if kind == "cron":
        return {f"{order.name}.crontab": emit.crontab(order, host_zone=host_zone(), now=now)}
    return {f"{order.name}.yaml": emit.cron_job(order, image=image)}


def this_program() -> tuple[str, ...]:
    """The words that call this program from anywhere: the installed command, else the module."""
    command = Path(sys.executable).with_name("batchexport")
    found = str(command) if command.exists() else shutil.which("batchexport")
    return (found,) if found else (sys.executable, "-m", "batchexport")


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

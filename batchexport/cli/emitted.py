"""The files that make another program start a job here: how this one is called, and whose time cron reads."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batchexport.cli.job_schedule import scheduled_job
from batchexport.errors import ConfigError
from batchexport.scheduling.crontab import crontab
from batchexport.scheduling.kubernetes import cron_job
from batchexport.scheduling.systemd import service, timer
from batchexport.scheduling.unit_spec import UnitSpec
from batchexport.whole_file import write_whole


def emitted(kind: str, job_path: Path, *, image: str, now: float) -> dict[str, str]:
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
        window=job.nights.window,
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


def write_emitted(folder: Path, job_path: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the texts into the folder. Raises ConfigError rather than replace what starts another job."""
    spec = unit_spec(job_path)
    for name in texts:
        path = folder / name
        if path.exists() and not spec.is_mine(path.read_text(encoding="utf-8", errors="replace")):
            raise ConfigError(
                f"{path} is there already and starts another job",
                hint=f"rename {spec.job_path.name}, or name another folder; nothing was written",
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

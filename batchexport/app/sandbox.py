"""Serve the sandbox: from options to a server that runs until it is stopped."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from batchexport.errors import ConfigError, JobListError
from batchexport.lists import JobList, Problem
from batchexport.sandbox import (
    Faults,
    Profile,
    SandboxServer,
    SandboxSettings,
    SandboxVolume,
    clouds_yaml,
    serve,
)
from batchexport.sandbox.world import synthetic_volume

#: First line of a clouds.yaml of ours: only such a file is written over.
MARK = "# made by `batchexport sandbox`: it may be written over"
#: Volumes of a made-up server.
VOLUMES_EACH = 2
#: Flags that are settings of the same name.
_TAKEN_OVER = ("time_scale", "journal", "rate", "token_life_s", "weather", "image_bytes_per_gib")
_MADE_UP = uuid.UUID("5a4db0c5-0000-4000-8000-000000000000")


def sandbox_settings(flags: Mapping[str, Any]) -> SandboxSettings:
    """The sandbox that the flags ask for. Raises JobListError, ConfigError."""
    if flags["source"] and flags["volumes"]:
        raise ConfigError("--list and --volumes both say which volumes exist: give one of them")
    volumes: tuple[SandboxVolume, ...] = ()
    if flags["source"]:
        volumes = listed_volumes(flags["source"])
    elif flags["volumes"]:
        volumes = made_up_volumes(flags["volumes"])
    servers = made_up_servers(flags.get("servers") or 0, volumes)
    said = {name: value for name, value in flags.items() if value is not None}
    faults = {name: said[name] for name in Faults.__struct_fields__ if name in said}
    if "seed" in said and "weather" in said:
        said["weather"] = replace(said["weather"], seed=said["seed"])
    others = {name: said[name] for name in _TAKEN_OVER if name in said}
    return SandboxSettings(
        profile=Profile(flags.get("profile") or Profile.CINDER),
        volumes=volumes,
        servers=servers,
        synthetic_volumes=not volumes,
        force_upload=bool(servers) and not flags.get("ignore_force"),
        faults=Faults(**faults),
        **others,
    )


def listed_volumes(source: str) -> tuple[SandboxVolume, ...]:
    """The volumes of a job list, each once, with made-up sizes. Raises JobListError."""
    names: dict[str, str | None] = {}
    problems: list[Problem] = []
    for item in JobList(source):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            names[item.volume_id] = item.image_name
    if problems:
        raise JobListError(f"{source}: {len(problems)} problems, nothing was started", problems=problems)
    return _volumes(names)


def made_up_volumes(count: int) -> tuple[SandboxVolume, ...]:
    """So many volumes, the same ones each time."""
    places = range(1, count + 1)
    return _volumes({str(uuid.uuid5(_MADE_UP, str(place))): f"volume-{place:04}" for place in places})


def made_up_servers(count: int, volumes: Sequence[SandboxVolume]) -> tuple[SandboxServer, ...]:
    """So many servers, the same ones each time, with the first of these volumes. Raises ConfigError.

    The first server holds the first volume of the second one too, for shared disks are the hard case.
    """
    if count and len(volumes) < count:
        raise ConfigError(
            f"{count} servers cannot hold {len(volumes)} volumes: each has one at least",
            hint="give --list or --volumes, with as many volumes as servers",
        )
    ids = [volume.volume_id for volume in volumes]
    return tuple(
        SandboxServer(
            server_id=str(uuid.uuid5(_MADE_UP, f"server {place}")),
            name=f"server-{place + 1:04}",
            volume_ids=held,
        )
        for place, held in enumerate(_shares(ids, count))
    )


def _shares(ids: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Who holds which volumes."""
    each = min(VOLUMES_EACH, len(ids) // max(count, 1))
    shares = [tuple(ids[place * each : place * each + each]) for place in range(count)]
    if count > 1:
        shares[0] = (*shares[0], shares[1][0])
    return shares


def _volumes(names: Mapping[str, str | None]) -> tuple[SandboxVolume, ...]:
    volumes = map(synthetic_volume, names)
    return tuple(replace(each, name=names[each.volume_id] or each.name) for each in volumes if each)


async def serve_until_stopped(
    settings: SandboxSettings, *, port: int, stop: asyncio.Event, on_start: Callable[[str], None]
) -> None:
    """Serve until `stop` is set; `on_start` is called with the URL once the sandbox listens."""
    async with serve(settings, port=port) as sandbox:
        on_start(sandbox.url)
        await stop.wait()


def write_clouds_yaml(path: Path, url: str, profile: Profile = Profile.CINDER) -> None:
    """Write the sign-in values to `path`. Raises ConfigError rather than lose somebody's own file."""
    try:
        if path.exists() and not path.read_text(encoding="utf-8").startswith(MARK):
            raise ConfigError(
                f"{path} exists and was not made by the sandbox", hint="name another file, or remove it"
            )
        path.write_text(f"{MARK}\n{clouds_yaml(url, profile)}", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error

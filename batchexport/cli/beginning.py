"""The beginning of a run: its state file made from the list, which is discovered first if need be."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport import intake
from batchexport.cli.layers import Order
from batchexport.cli.talk import Talk
from batchexport.config import CloudSettings, Settings
from batchexport.config.wanted import Wanted
from batchexport.dialect import Dialect
from batchexport.errors import StateWriteError
from batchexport.model import TargetKey
from batchexport.report.words import count_of, one_line
from batchexport.store import StateReader
from batchexport.whole_file import write_whole


def begin(
    order: Order,
    state_path: Path,
    talk: Talk,
    *,
    leave_out: Collection[tuple[TargetKey, str]] = (),
) -> Settings:
    """Make the state file, or find it; the settings to work on it with.

    A discovered list is made while there is no state file, and never again. Raises what `intake.prepare`
    does, and CloudError where the volumes cannot be listed.
    """
    if order.wanted is not None and state_path.exists():
        return carry_on(order, state_path, talk)
    dialect = order.dialect
    if dialect is None and not state_path.exists() and intake.needs_dialect(order.settings):
        dialect = dialect_of(order.settings, order.access)
    prepared = intake.prepare(
        order.source if order.wanted is None else _list_beside(state_path, order, order.wanted, talk),
        state_path,
        order.settings,
        dialect=dialect,
        leave_out=leave_out,
        called=order.job_file_name if order.wanted is not None else None,
    )
    if prepared.resumed:
        _say_what_goes_on(order, state_path, talk)
    else:
        rows, cloud = count_of(prepared.rows, "row"), cloud_asked(order.access)
        talk.mention(f"beginning run {prepared.run_id}: {rows}, {cloud}, state file {state_path}")
    return order.settings


def carry_on(order: Order, state_path: Path, talk: Talk) -> Settings:
    """The settings to go on with a state file, its list and images as they were when it was made."""
    with StateReader(state_path) as reader:
        settings = intake.as_stored(order.settings, reader.run)
    _say_what_goes_on(order, state_path, talk)
    return settings


def cloud_asked(access: CloudSettings) -> str:
    """The cloud that a command was told, in words; rows of the list may name others."""
    name = access.cloud or os.environ.get("OS_CLOUD")
    return f"cloud {one_line(name, 80)}" if name else "the cloud of the OS_ variables"


def going_on(reader: StateReader, access: CloudSettings) -> str:
    """Which run is carried on, with its rows and the clouds that it belongs to."""
    bound = [one_line(str(identity), 200) for identity in reader.identities().values()]
    clouds = "; ".join(dict.fromkeys(bound)) or cloud_asked(access)
    run = one_line(reader.run.run_id, 80)
    return f"carrying on with run {run}: {count_of(reader.run.rows, 'row')}, {clouds}"


def _say_what_goes_on(order: Order, state_path: Path, talk: Talk) -> None:
    with StateReader(state_path) as reader:
        talk.mention(f"{going_on(reader, order.access)}, state file {state_path}")


def list_path_beside(state_path: Path) -> Path:
    """Where the discovered list of a state file is kept."""
    # By the whole name, so that it goes when the night does, and is no report that bears the night's name.
    return state_path.with_name(f"{state_path.name}.list.csv")


def dialect_of(settings: Settings, access: CloudSettings) -> Dialect:
    """The family of the cloud that rows mean which name none, found out by signing in to it. Raises
    CloudError, ConfigError.
    """
    from batchexport.cli.connections import connections
    from batchexport.cli.execution import run_in_loop

    async def look(state_path: Path) -> Dialect:
        key = TargetKey()
        async with (
            connections([key], access, settings.limits, state_path=state_path) as connect,
            connect(key, None) as cloud,
        ):
            return cloud.dialect

    with TemporaryDirectory(prefix="batchexport-") as folder:
        return run_in_loop(look(Path(folder) / "dialect.state"))


def _list_beside(state_path: Path, order: Order, wanted: Wanted, talk: Talk) -> Path:
    """The list of what fits now, written beside the state file that will be made of it."""
    from batchexport.cli.discovery import discovered
    from batchexport.report.volumes import csv_text

    volumes = discovered(wanted, order.settings, order.access)
    path = list_path_beside(state_path)
    try:
        write_whole(path, [csv_text(volumes)])
    except OSError as error:
        raise StateWriteError(
            f"{path}: cannot write the list of this night: {error.strerror}",
            hint="make room, or name another place for the state file; nothing was started",
        ) from error
    fits = f"{count_of(len(volumes), 'volume')} fit" if volumes else "no volume fits"
    talk.mention(f"{fits} [discover]{f', listed in {path}' if volumes else ': there is nothing to export'}")
    return path

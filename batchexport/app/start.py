"""Make the state file of a run from its list, or bring the one that is there to the list as it is now."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from batchexport import intake
from batchexport.app import run_in_loop
from batchexport.app.console import Console
from batchexport.app.run_config import RunConfig
from batchexport.config import CloudSettings, Settings
from batchexport.dialect import Dialect
from batchexport.errors import StateWriteError
from batchexport.files import write_whole
from batchexport.model import TargetKey, Volume
from batchexport.report.text import count_of, one_line
from batchexport.store import Reader, StoreRef, stores


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose state file is ready."""

    settings: Settings
    prepared: intake.Prepared | None = None  #: None = a list that was discovered earlier is resumed

    @property
    def is_new(self) -> bool:
        """The state file was made just now."""
        return self.prepared is not None and not self.prepared.resumed

    @property
    def refused(self) -> int:
        """Rows whose changes were not taken, for they were sent already."""
        differences = self.prepared and self.prepared.differences
        return differences.refused if differences else 0


class LookUp(msgspec.Struct, frozen=True, kw_only=True):
    """What had to be asked of the cloud before the list could be loaded."""

    dialect: Dialect | None = None  #: None = not needed
    volumes: Sequence[Volume] | None = None  #: those that match `[discover]`; None = not needed


def needs_look_up(config: RunConfig, state_path: StoreRef) -> bool:
    """Whether `look_up` has anything to ask."""
    if config.volume_filter is not None:
        return not state_path.exists()
    return _needs_dialect(config, state_path)


async def look_up(config: RunConfig, state_path: StoreRef) -> LookUp:
    """Ask the cloud for what `start` needs: the volumes of a discovered list, or the cloud's family.

    Raises CloudError, ConfigError.
    """
    dialect, volumes = config.dialect, None
    if not needs_look_up(config, state_path):
        return LookUp()
    if config.volume_filter is not None:
        from batchexport.app.discover import discover_volumes

        volumes = await discover_volumes(config.volume_filter, config.settings, config.access, for_a_run=True)
    if _needs_dialect(config, state_path):
        dialect = await _dialect_of(config.settings, config.access)
    return LookUp(dialect=dialect, volumes=volumes)


def start_run(
    config: RunConfig,
    state_path: StoreRef,
    console: Console,
    *,
    leave_out: Collection[tuple[TargetKey, str]] = (),
) -> Started:
    """`look_up`, where it is needed, and `start`, from code that has no event loop."""
    found = LookUp(dialect=config.dialect)
    if needs_look_up(config, state_path):
        found = run_in_loop(look_up(config, state_path))
    return start(config, state_path, console, found, leave_out=leave_out)


def start(
    config: RunConfig,
    state_path: StoreRef,
    console: Console,
    found: LookUp,
    *,
    leave_out: Collection[tuple[TargetKey, str]] = (),
) -> Started:
    """Make the state file, or bring it to its list as it is now, and say which. Blocks; asks no cloud.

    A discovered list is made while there is no state file, and never again. Raises what `intake.prepare`
    does.
    """
    if config.volume_filter is not None and state_path.exists():
        return Started(settings=resume(config, state_path, console))
    source: str | Path = config.source
    if config.volume_filter is not None:
        source = _write_list(state_path, found.volumes or (), console)
    prepared = intake.prepare(
        source,
        state_path,
        config.settings,
        dialect=found.dialect or config.dialect,
        leave_out=leave_out,
        called=config.job_file_name if config.volume_filter is not None else None,
    )
    if prepared.resumed:
        _report_resumed(config, state_path, console)
        _report_changes(prepared.differences, console)
    else:
        rows, cloud = count_of(prepared.rows, "row"), cloud_asked(config.access)
        console.info(f"starting run {prepared.run_id}: {rows}, {cloud}, state file {state_path}")
    return Started(settings=config.settings, prepared=prepared)


def resume(config: RunConfig, state_path: StoreRef, console: Console) -> Settings:
    """The settings for going on with a state file, its list and images as they were when it was made."""
    with stores.read(state_path) as reader:
        settings = intake.as_stored(config.settings, reader.run)
    _report_resumed(config, state_path, console)
    return settings


def cloud_asked(access: CloudSettings) -> str:
    """The cloud that was asked for, as text; rows of the list may name others."""
    name = access.cloud or os.environ.get("OS_CLOUD")
    return f"cloud {one_line(name, 80)}" if name else "the cloud of the OS_ variables"


def going_on(reader: Reader, access: CloudSettings) -> str:
    """Which run is resumed, with its rows and the clouds that it belongs to."""
    clouds = _bound_to(reader) or cloud_asked(access)
    run = one_line(reader.run.run_id, 80)
    return f"resuming run {run}: {count_of(reader.run.rows, 'row')}, {clouds}"


def already_there(state_path: StoreRef) -> str:
    """That a state file is there already, and which clouds it belongs to: no other is taken for them."""
    with stores.read(state_path) as reader:
        clouds = _bound_to(reader)
    return f"there already{f', and belongs to {clouds}' if clouds else ''}"


def _bound_to(reader: Reader) -> str:
    bound = [one_line(str(identity), 200) for identity in reader.overview().identities.values()]
    return "; ".join(dict.fromkeys(bound))


def changes_text(differences: intake.Differences) -> str:
    """How a list has changed since its state file was made; empty where it has not."""
    return ", ".join(
        text
        for rows, text in (
            (differences.new, f"{count_of(differences.new, 'new row')}"),
            (differences.changed, f"{count_of(differences.changed, 'row')} changed"),
            (differences.left_out, f"{count_of(differences.left_out, 'row')} no longer listed: skipped"),
            (
                differences.kept,
                f"{count_of(differences.kept, 'row')} no longer listed, but sent already: kept",
            ),
        )
        if rows
    )


def refusals(differences: intake.Differences) -> Iterator[str]:
    """A line for each row whose change is ignored."""
    for row in differences.first_refused:
        yield (
            f"line {row.line} (volume {row.volume_id}): its image settings have changed, but it is already"
            f" {row.state}: the change is ignored"
        )
    if (more := differences.refused - len(differences.first_refused)) > 0:
        yield f"{count_of(more, 'more row')} likewise"


def differences_lines(differences: intake.Differences | None) -> list[str]:
    """How a list has changed, and which changes are ignored; empty if it has not."""
    if differences is None:
        return []
    text = changes_text(differences)
    return [*([f"the list has changed: {text}"] if text else []), *refusals(differences)]


def _report_changes(differences: intake.Differences | None, console: Console) -> None:
    if differences is None:
        return
    if text := changes_text(differences):
        console.info(f"the list has changed: {text}")
    for words in refusals(differences):
        console.warning(words)


def _report_resumed(config: RunConfig, state_path: StoreRef, console: Console) -> None:
    with stores.read(state_path) as reader:
        console.info(f"{going_on(reader, config.access)}, state file {state_path}")


def list_path_beside(state_path: StoreRef) -> Path:
    """Where the discovered list of a state file is kept."""
    # By the whole name, so that it goes when the night does, and is no report that bears the night's name.
    return stores.companion(state_path, ".list.csv")


def _needs_dialect(config: RunConfig, state_path: StoreRef) -> bool:
    return (
        config.dialect is None
        and intake.needs_dialect(config.settings)
        and not intake.is_as_it_was(config.source, state_path)
    )


async def _dialect_of(settings: Settings, access: CloudSettings) -> Dialect:
    """The family of the cloud that rows mean which name none, found out by signing in to it."""
    from batchexport.app.connections import connections

    key = TargetKey()
    with TemporaryDirectory(prefix="batchexport-") as folder:
        state_path = Path(folder) / "dialect.state"
        async with (
            connections([key], access, settings.limits, state_path=state_path, for_a_run=True) as connect,
            connect(key, None) as cloud,
        ):
            return cloud.dialect


def _write_list(state_path: StoreRef, volumes: Sequence[Volume], console: Console) -> Path:
    """The discovered list, written beside the state file that will be made of it."""
    from batchexport.report.volumes import csv_text

    path = list_path_beside(state_path)
    try:
        write_whole(path, [csv_text(volumes)])
    except OSError as error:
        raise StateWriteError(
            f"{path}: cannot write the discovered list: {error.strerror}",
            hint="make room, or name another place for the state file; nothing was started",
        ) from error
    fits = (
        f"{count_of(len(volumes), 'volume')} {'matches' if len(volumes) == 1 else 'match'}"
        if volumes
        else "no volume matches"
    )
    console.info(f"{fits} [discover]{f', listed in {path}' if volumes else ': there is nothing to export'}")
    return path

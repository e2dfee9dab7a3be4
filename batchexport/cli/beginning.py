"""The beginning of a run: its state file made from the list, which is discovered first if need be."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from batchexport import intake
from batchexport.cli.console import TerminalConsole, err
from batchexport.cli.layers import Order
from batchexport.config import CloudSettings, Settings
from batchexport.config.volume_filter import VolumeFilter
from batchexport.dialect import Dialect
from batchexport.errors import StateWriteError
from batchexport.model import TargetKey
from batchexport.report.text import count_of, one_line
from batchexport.store import StateReader
from batchexport.whole_file import write_whole


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is about to work."""

    settings: Settings
    prepared: intake.Prepared | None = None  #: None = a list that was discovered earlier goes on

    @property
    def is_new(self) -> bool:
        """The state file was made just now."""
        return self.prepared is not None and not self.prepared.resumed

    @property
    def refused(self) -> int:
        """Rows whose changes were not taken, for they were sent already."""
        differences = self.prepared and self.prepared.differences
        return differences.refused if differences else 0


def begin(
    order: Order,
    state_path: Path,
    console: TerminalConsole,
    *,
    leave_out: Collection[tuple[TargetKey, str]] = (),
) -> Settings:
    """Make the state file, or bring it to its list; the settings to work on it with."""
    return begin_with(order, state_path, console, leave_out=leave_out).settings


def begin_with(
    order: Order,
    state_path: Path,
    console: TerminalConsole,
    *,
    leave_out: Collection[tuple[TargetKey, str]] = (),
) -> Begun:
    """Make the state file, or bring it to its list as it is now, and tell what there is.

    A discovered list is made while there is no state file, and never again. Raises what `intake.prepare`
    does, and CloudError where the volumes cannot be listed.
    """
    if order.wanted is not None and state_path.exists():
        return Begun(settings=carry_on(order, state_path, console))
    dialect = order.dialect
    if (
        dialect is None
        and intake.needs_dialect(order.settings)
        and not intake.is_as_it_was(order.source, state_path)
    ):
        dialect = dialect_of(order.settings, order.access)
    prepared = intake.prepare(
        order.source if order.wanted is None else _list_beside(state_path, order, order.wanted, console),
        state_path,
        order.settings,
        dialect=dialect,
        leave_out=leave_out,
        called=order.job_file_name if order.wanted is not None else None,
    )
    if prepared.resumed:
        _say_what_goes_on(order, state_path, console)
        _say_what_changed(prepared.differences, console)
    else:
        rows, cloud = count_of(prepared.rows, "row"), cloud_asked(order.access)
        console.info(f"beginning run {prepared.run_id}: {rows}, {cloud}, state file {state_path}")
    return Begun(settings=order.settings, prepared=prepared)


def carry_on(order: Order, state_path: Path, console: TerminalConsole) -> Settings:
    """The settings to go on with a state file, its list and images as they were when it was made."""
    with StateReader(state_path) as reader:
        settings = intake.as_stored(order.settings, reader.run)
    _say_what_goes_on(order, state_path, console)
    return settings


def cloud_asked(access: CloudSettings) -> str:
    """The cloud that a command was told, in words; rows of the list may name others."""
    name = access.cloud or os.environ.get("OS_CLOUD")
    return f"cloud {one_line(name, 80)}" if name else "the cloud of the OS_ variables"


def going_on(reader: StateReader, access: CloudSettings) -> str:
    """Which run is carried on, with its rows and the clouds that it belongs to."""
    clouds = _bound_to(reader) or cloud_asked(access)
    run = one_line(reader.run.run_id, 80)
    return f"carrying on with run {run}: {count_of(reader.run.rows, 'row')}, {clouds}"


def already_there(state_path: Path) -> str:
    """That a state file is there already, and which clouds it belongs to: no other is taken for them."""
    with StateReader(state_path) as reader:
        clouds = _bound_to(reader)
    return f"there already{f', and belongs to {clouds}' if clouds else ''}"


def _bound_to(reader: StateReader) -> str:
    bound = [one_line(str(identity), 200) for identity in reader.identities().values()]
    return "; ".join(dict.fromkeys(bound))


def changes_text(differences: intake.Differences) -> str:
    """How a list has changed since its state file was made; empty where it has not."""
    return ", ".join(
        text
        for rows, text in (
            (differences.new, f"{count_of(differences.new, 'new row')}"),
            (differences.changed, f"{count_of(differences.changed, 'row')} changed"),
            (differences.left_out, f"{count_of(differences.left_out, 'row')} no longer listed: left out"),
            (
                differences.kept,
                f"{count_of(differences.kept, 'row')} no longer listed, but sent already: kept",
            ),
        )
        if rows
    )


def refusals(differences: intake.Differences) -> Iterator[str]:
    """What is said of each row whose change is not taken."""
    for row in differences.first_refused:
        yield (
            f"line {row.line} (volume {row.volume_id}): its image settings have changed, but it is"
            f" {row.state} already: the change is not taken"
        )
    if (more := differences.refused - len(differences.first_refused)) > 0:
        yield f"{count_of(more, 'more row')} likewise"


def differences_lines(differences: intake.Differences | None) -> list[str]:
    """How a list has changed, and which changes are not taken; empty where it has not."""
    if differences is None:
        return []
    text = changes_text(differences)
    return [*([f"the list has changed: {text}"] if text else []), *refusals(differences)]


def changes_foreseen(order: Order) -> list[str]:
    """What a run would say of a list whose state file is there already. Raises what the run would."""
    can_be_known = order.wanted is None and order.nights.state_dir is None and intake.is_file(order.source)
    if not can_be_known or not order.state_path.exists():
        return []
    checked = intake.check(order.source, order.settings, dialect=order.dialect, state_path=order.state_path)
    there = f"state file {order.state_path} is {already_there(order.state_path)}"
    return [there, *differences_lines(checked.differences)]


def _say_what_changed(differences: intake.Differences | None, console: TerminalConsole) -> None:
    if differences is None:
        return
    if text := changes_text(differences):
        console.info(f"the list has changed: {text}")
    for words in refusals(differences):
        err(words, level="warning")


def _say_what_goes_on(order: Order, state_path: Path, console: TerminalConsole) -> None:
    with StateReader(state_path) as reader:
        console.info(f"{going_on(reader, order.access)}, state file {state_path}")


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
            connections([key], access, settings.limits, state_path=state_path, for_a_run=True) as connect,
            connect(key, None) as cloud,
        ):
            return cloud.dialect

    with TemporaryDirectory(prefix="batchexport-") as folder:
        return run_in_loop(look(Path(folder) / "dialect.state"))


def _list_beside(state_path: Path, order: Order, wanted: VolumeFilter, console: TerminalConsole) -> Path:
    """The list of what fits now, written beside the state file that will be made of it."""
    from batchexport.cli.discovery import discovered
    from batchexport.report.volumes import csv_text

    volumes = discovered(wanted, order.settings, order.access, for_a_run=True)
    path = list_path_beside(state_path)
    try:
        write_whole(path, [csv_text(volumes)])
    except OSError as error:
        raise StateWriteError(
            f"{path}: cannot write the list of this night: {error.strerror}",
            hint="make room, or name another place for the state file; nothing was started",
        ) from error
    fits = (
        f"{count_of(len(volumes), 'volume')} {'fits' if len(volumes) == 1 else 'fit'}"
        if volumes
        else "no volume fits"
    )
    console.info(f"{fits} [discover]{f', listed in {path}' if volumes else ': there is nothing to export'}")
    return path

"""Make a job list from the volumes of a project: read in pages, written whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport.app.connections import connections
from batchexport.config import CloudSettings, Settings
from batchexport.config.volume_filter import VolumeFilter
from batchexport.errors import ConfigError, JobListError
from batchexport.files import write_whole
from batchexport.lists import JobList, Problem
from batchexport.model import TargetKey, Volume
from batchexport.report.listing import ListFormat, Listing, Selection, listing_lines
from batchexport.report.text import count_of
from batchexport.report.volumes import COLUMNS, cells, csv_text, json_text

ALL_COLUMNS = Selection()


async def discover_volumes(
    volume_filter: VolumeFilter, settings: Settings, access: CloudSettings, *, for_a_run: bool = False
) -> list[Volume]:
    """The volumes of the project that match, in the order in which the cloud lists them.

    `for_a_run` signs in as patiently as a run does. Raises CloudError, ConfigError.
    """
    key = TargetKey()
    with TemporaryDirectory(prefix="batchexport-") as folder:
        state_path = Path(folder) / "discover.state"
        async with (
            connections(
                [key], access, settings.limits, state_path=state_path, for_a_run=for_a_run
            ) as connect,
            connect(key, None) as cloud,
        ):
            return [
                volume
                async for page in cloud.block_storage.volumes()
                for volume in page
                if volume_filter.matches(volume)
            ]


def list_text(
    volumes: Sequence[Volume],
    form: str,
    selection: Selection = ALL_COLUMNS,
    *,
    width: int | None = None,
) -> str:
    """The volumes as a whole list; `width` is that of a table. Raises ConfigError for unknown columns."""
    if form in ("csv", "json") and not selection:
        return json_text(volumes) if form == "json" else csv_text(volumes)
    listing = Listing(columns=COLUMNS, records=[cells(volume) for volume in volumes])
    return "".join(f"{line}\n" for line in listing_lines(listing, ListFormat(form), selection, width=width))


def write_list(
    path: Path,
    volumes: Sequence[Volume],
    form: str,
    *,
    append: bool,
    selection: Selection = ALL_COLUMNS,
) -> int:
    """Write a list, or add to it what it does not have; how many rows were written.

    `append` takes CSV and JSON, with all columns.

    Raises ConfigError rather than lose or mix up what is there, JobListError if that is no list.
    """
    if not path.exists():
        _replace(path, list_text(volumes, form, selection))
        return len(volumes)
    if not append:
        raise ConfigError(
            f"{path} already exists",
            hint="add to it with --append, or name another file",
        )
    listed = _listed(path)
    fresh = [volume for volume in volumes if volume.volume_id not in listed]
    before = path.read_text(encoding="utf-8-sig")
    _replace(path, _longer_json(path, before, fresh) if form == "json" else _longer_csv(path, before, fresh))
    return len(fresh)


def _listed(path: Path) -> set[str]:
    ids: set[str] = set()
    problems: list[Problem] = []
    for item in JobList(path, may_be_empty=True):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            ids.add(item.volume_id)
    if problems:
        count = count_of(len(problems), "problem")
        raise JobListError(f"{path}: {count}, nothing was added", problems=problems)
    return ids


def _longer_csv(path: Path, before: str, fresh: Sequence[Volume]) -> str:
    """The list with these rows behind, in its own columns."""
    columns = next(csv.reader(before.splitlines()), [])
    if COLUMNS[0] not in columns:
        raise ConfigError(
            f"{path}: its first line is no CSV header with a column {COLUMNS[0]}; nothing was added",
            hint="--append adds to comma-separated lists like those that this command writes",
        )
    gap = "" if before.endswith("\n") else "\n"
    return before + gap + csv_text(fresh, columns=columns, header=False)


def _longer_json(path: Path, before: str, fresh: Sequence[Volume]) -> str:
    try:
        content = json.loads(before)
    except ValueError:
        content = None
    if not isinstance(content, list):
        raise ConfigError(
            f"{path}: is no JSON array; nothing was added",
            hint="--append with -f json adds to arrays like those that this command writes",
        )
    return json_text(fresh, behind=content)


def _replace(path: Path, text: str) -> None:
    try:
        write_whole(path, [text])
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error

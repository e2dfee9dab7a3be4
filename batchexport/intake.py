"""From a job list to a state file: every row checked, named and loaded, or nothing at all."""

from __future__ import annotations

import json
import re
import secrets
import string
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec.structs import asdict, replace

from batchexport.config import Settings
from batchexport.dialect import EVS, Dialect
from batchexport.errors import JobListError, ListChangedError, StateCorruptError
from batchexport.lists import Column, JobList, Problem, sha256_of
from batchexport.model import ImageOptions, JobRow, JobRows, TargetKey
from batchexport.naming import MarkingNamer, Namer, Names, UnfitNameError
from batchexport.store import Builder, Differences, Duplicate, RunRecord, StoreRef, stores
from batchexport.version import __version__

__all__ = ["Checked", "Differences", "Prepared", "as_stored", "check", "is_file", "prepare"]

#: More problems than a person reads are counted, not kept.
MOST_PROBLEMS = 1000
#: More lines than these are counted where one value stands in all of them.
MOST_LINES = 10
_FIELD = re.compile(r"\{[^{}]*\}")
_NAMELESS = (
    "give the list a column volume_name, as `batchexport discover` writes it, or take {volume_name}"
    " out of the name template"
)


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A state file that is ready to run."""

    state_path: StoreRef
    run_id: str
    rows: int
    resumed: bool  #: the state file was there before and belongs to this list
    differences: Differences | None = None  #: how the list has changed since; None = not at all


class _Fixed(msgspec.Struct, frozen=True, kw_only=True):
    """What a state file fixes of the settings it was made with."""

    image: ImageOptions
    name_template: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A job list without a problem."""

    rows: int
    differences: Differences | None = None  #: from the state file that is there; None = from none


def check(
    source: str | Path,
    settings: Settings | None = None,
    *,
    dialect: Dialect | None = None,
    stdin: BinaryIO | None = None,
    state_path: StoreRef | None = None,
) -> Checked:
    """Read a whole list as a run would, and keep nothing. Raises JobListError with every problem.

    With the state file that the run would carry on with, tells what has changed since it was made, and raises
    what the run would.
    """
    from tempfile import TemporaryDirectory  # loads much that a run has no use for

    settings = settings or Settings()
    jobs = JobList(source, dialect=dialect, stdin=stdin, encoding=settings.encoding)
    if state_path is not None and state_path.exists():
        with stores.read(state_path) as reader:
            run = reader.run
        if changes := _other_settings(settings, run):
            if stores.is_untried(state_path):
                return Checked(rows=check(source, settings, dialect=dialect, stdin=stdin).rows)
            raise _made_otherwise(state_path, changes)
        with _loaded_apart(jobs, settings, dialect, run) as (fresh_path, record):
            return Checked(rows=record.rows, differences=stores.compare(state_path, fresh_path))
    with (
        TemporaryDirectory(prefix="batchexport-") as folder,
        stores.create(Path(folder) / "check.state") as build,
    ):
        _load(jobs, build, Namer(settings.name_template, dialect, _new_run_id()))
    return Checked(rows=jobs.rows)


def needs_dialect(settings: Settings) -> bool:
    """Whether names are made of what not every cloud takes as it is, as the names of volumes."""
    literal = _FIELD.sub("", settings.name_template)
    return (
        "{volume_name}" in settings.name_template or EVS.forbidden_in_image_names.search(literal) is not None
    )


def is_as_it_was(source: str | Path, state_path: StoreRef) -> bool:
    """Whether the state file is there and was made from this very content: no row is named any more."""
    if not state_path.exists() or not is_file(source):
        return False
    with stores.read(state_path) as reader:
        return sha256_of(source) == reader.run.list_sha256


def prepare(
    source: str | Path,
    state_path: StoreRef,
    settings: Settings,
    *,
    dialect: Dialect | None = None,
    stdin: BinaryIO | None = None,
    leave_out: Collection[tuple[TargetKey, str]] = (),
    called: str | None = None,
) -> Prepared:
    """Make the state file of a list, or bring the one that is there to the list as it is now.

    Rows are known by target and volume: new ones are taken in, those that are gone are left out unless
    something was sent for them, and changes are taken as long as nothing was.

    Rows whose target and volume are among `leave_out` are checked, but not taken. A list that was `called`
    into being under another name than its file's bears that name, and may be empty.

    A file of which no row was ever tried is made anew where list or settings are others.

    Raises JobListError with every problem of the list, ListChangedError if the file was made with other image
    settings, StateError if it cannot be used. On an error nothing is left behind.
    """
    if state_path.exists():
        found = _recognised(source, state_path, settings, dialect, stdin)
        if found is not None:
            return found
    run_id = _new_run_id()
    jobs = JobList(
        source, dialect=dialect, stdin=stdin, may_be_empty=called is not None, encoding=settings.encoding
    )
    with stores.create(state_path) as build:
        _load(jobs, build, Namer(settings.name_template, dialect, run_id), leave_out)
        record = RunRecord(
            run_id=run_id,
            created_at=time.time(),
            list_name=called or jobs.name,
            list_sha256=jobs.sha256,
            rows=build.rows,
            settings=_settings_text(settings),
            version=__version__,
        )
        build.finish(record)
    return Prepared(state_path=state_path, run_id=run_id, rows=record.rows, resumed=False)


def as_stored(settings: Settings, run: RunRecord) -> Settings:
    """These settings with what the state file fixes: what is asked of the images, and their names."""
    stored = _stored(run.settings)
    return replace(settings, image=stored.image, name_template=stored.name_template)


def _recognised(
    source: str | Path,
    state_path: StoreRef,
    settings: Settings,
    dialect: Dialect | None,
    stdin: BinaryIO | None,
) -> Prepared | None:
    """The state file that is there, as the list is now; None = no row of it was tried, and it is gone."""
    with stores.read(state_path) as reader:
        run = reader.run
    may_be_read_again = is_file(source)
    # A slip in the sign-in ends a run before its first request: that must not fix anything.
    if changes := _other_settings(settings, run):
        if may_be_read_again and stores.forget(state_path):
            return None
        raise _made_otherwise(state_path, changes)
    if may_be_read_again:
        if sha256_of(source) == run.list_sha256:
            return Prepared(state_path=state_path, run_id=run.run_id, rows=run.rows, resumed=True)
        if stores.forget(state_path):
            return None
    jobs = JobList(source, dialect=dialect, stdin=stdin, encoding=settings.encoding)
    with _loaded_apart(jobs, settings, dialect, run) as (fresh_path, record):
        if record.list_sha256 == run.list_sha256:
            return Prepared(state_path=state_path, run_id=run.run_id, rows=run.rows, resumed=True)
        differences = stores.update(state_path, fresh_path)
    with stores.read(state_path) as reader:
        rows = reader.run.rows
    return Prepared(
        state_path=state_path, run_id=run.run_id, rows=rows, resumed=True, differences=differences
    )


@contextmanager
def _loaded_apart(
    jobs: JobList, settings: Settings, dialect: Dialect | None, run: RunRecord
) -> Iterator[tuple[Path, RunRecord]]:
    """The list as it is now in a state file of its own, named as those of the run are, for a comparison."""
    from tempfile import TemporaryDirectory  # loads much that most runs have no use for

    with TemporaryDirectory(prefix="batchexport-") as folder:
        path = Path(folder) / "fresh.state"
        with stores.create(path) as build:
            _load(jobs, build, MarkingNamer(Namer(settings.name_template, dialect, run.run_id)))
            record = replace(run, list_name=jobs.name, list_sha256=jobs.sha256, rows=build.rows)
            build.finish(record)
        yield path, record


def is_file(source: str | Path) -> bool:
    """Whether the list can be read a second time, and has a place of its own: no stdin, no pipe."""
    return str(source) != "-" and Path(source).is_file()


def _other_settings(settings: Settings, run: RunRecord) -> str:
    """What is asked of the images that is not what the state file was made with; empty = nothing."""
    asked, stored = (_by_name(_stored(text)) for text in (_settings_text(settings), run.settings))
    names = [name for name in asked if asked[name] != stored[name]]
    return ", ".join(f"{name} was {stored[name]}, is {asked[name]}" for name in names)


def _made_otherwise(state_path: StoreRef, changes: str) -> ListChangedError:
    return ListChangedError(
        f"{state_path} was made with other image settings ({changes}); nothing was started",
        hint=f"give the settings of the first run, or name another file with --state, or remove {state_path}"
        " if its exports no longer matter",
    )


def _settings_text(settings: Settings) -> str:
    """What the state file fixes, in one form: limits and the treatment of volumes in use may change."""
    fixed = {"image": asdict(settings.image), "name_template": settings.name_template}
    return json.dumps(fixed, sort_keys=True)


def _stored(text: str) -> _Fixed:
    """The same again. Raises StateCorruptError for what `_settings_text` never wrote."""
    try:
        return msgspec.json.decode(text, type=_Fixed)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise StateCorruptError(
            f"the settings in the state file cannot be read: {error}",
            hint="restore the file from a copy, or name another one with --state",
        ) from error


def _by_name(fixed: _Fixed) -> dict[str, object]:
    """Each setting by its name."""
    return asdict(fixed.image) | {"name_template": fixed.name_template}


def _load(
    jobs: JobList, build: Builder, namer: Names, leave_out: Collection[tuple[TargetKey, str]] = ()
) -> None:
    problems: list[Problem] = []
    total = 0
    for item in jobs if leave_out else _load_together(jobs, build, namer):
        if leave_out and isinstance(item, JobRow) and (item.target, item.volume_id) in leave_out:
            continue
        found = _add(item, build, namer) if isinstance(item, JobRow) else item
        if found is not None:
            total += 1
            if len(problems) < MOST_PROBLEMS:
                problems.append(found)
    for duplicate in build.duplicates(MOST_PROBLEMS):
        total += 1
        problems.append(_twice(jobs.name, duplicate))
    if total:
        problems.sort(key=lambda problem: problem.line or 0)
        noun = "problem" if total == 1 else "problems"
        raise JobListError(
            f"{jobs.name}: {total} {noun}, nothing was started",
            problems=problems,
            total=total,
            hint=_NAMELESS if any(map(_is_nameless, problems)) else None,
        )


def _is_nameless(problem: Problem) -> bool:
    """Whether it is that the name of a volume is not there; a value that is no name is another fault."""
    return problem.field == Column.VOLUME_NAME and problem.value is None


def _load_together(jobs: JobList, build: Builder, namer: Names) -> Iterator[JobRow | Problem]:
    """Load what can be loaded many rows at a time; what is given is left to the caller, in its order."""
    for part in jobs.chunks():
        if not isinstance(part, JobRows):
            yield part
        elif (names := namer.names(part)) is not None:
            build.add_all(part, names)
        else:
            yield from part


def _add(row: JobRow, build: Builder, namer: Names) -> Problem | None:
    """Load the row with its image name; a problem instead where it gets none."""
    try:
        build.add(row, namer.name(row))
    except UnfitNameError as error:
        field = "volume_name" if error.name is None else "image_name"
        return Problem(source="", line=row.line, field=field, value=error.name, message=str(error))
    return None


def _twice(name: str, duplicate: Duplicate) -> Problem:
    first, *others = duplicate.lines
    also = ", ".join(str(line) for line in others[:MOST_LINES])
    if (more := len(others) - MOST_LINES) > 0:
        also += f" and {more:,} more"
    return Problem(
        source=name,
        line=first,
        field=duplicate.field,
        value=duplicate.value,
        message=f"repeated in line {also}; each may appear once per target",
    )


def _new_run_id() -> str:
    """A name for this run, unique enough for image names and readable in a console: date and six letters."""
    letters = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(6))
    return f"{time.strftime('%Y%m%d', time.gmtime())}-{letters}"

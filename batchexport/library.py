"""batchexport as a library: export lists of volumes from a program of your own.

Everything here can be awaited in a running event loop, several exports at once. Nothing here installs signal
handlers, sets up logging, writes to stdout or ends the process; log records go to the logger `batchexport`.
Errors are those of `batchexport.errors`. How an export works, and what it guarantees, is the same as for
`batchexport run`: the state file is the only memory, and the same call again resumes it.

Import these names from `batchexport` itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, Unpack

import msgspec

from batchexport.app.allowance import Allowance, throughput_of
from batchexport.app.console import LogConsole
from batchexport.app.discover import discover_volumes
from batchexport.app.plan import plan_list
from batchexport.app.run import Observed, outcome_of, record_end, work
from batchexport.app.run_config import RunConfig, resolve_config, resolve_resume, settings_from
from batchexport.app.start import LookUp, Started, look_up, start
from batchexport.app.verify import verify_images
from batchexport.changes import JobChange
from batchexport.config.keywords import parse_export_again
from batchexport.config.volume_filter import VolumeFilter
from batchexport.engine import Connect
from batchexport.errors import BatchExportError, ConfigError, JobListError, StateInUseError
from batchexport.export_options import ExportOptions, SignInOptions, layer_of
from batchexport.files import write_whole
from batchexport.model import JobState, TargetKey, Volume
from batchexport.outcome import Outcome, outcome_in
from batchexport.plan import PlanSummary
from batchexport.plan.image_checks import Verification
from batchexport.report.formats import ReportFormat, report_lines
from batchexport.store import stores

__all__ = [
    "discover",
    "export",
    "plan_export",
    "read_outcome",
    "render_report",
    "resume",
    "verify",
]

log = logging.getLogger(__name__)
# As libraries do: warnings go where the program sends them, and not to stderr where it sends them nowhere.
logging.getLogger("batchexport").addHandler(logging.NullHandler())

#: What `record_end` notes of an export that was cancelled: as for Ctrl-C.
_CANCELLED = 130
#: A job list as a value: volume ids, or mappings with the columns of a job list.
Rows = Iterable[str | Mapping[str, object]]
#: The state files that exports of this process work on: closing a file twice would drop SQLite's locks.
_in_use: set[Path] = set()


async def export(
    source: str | Path | Rows,
    *,
    state: str | Path | None = None,
    on_change: Callable[[JobChange], object] | None = None,
    **options: Unpack[ExportOptions],
) -> Outcome:
    """Export every volume of a job list, and return what became of each.

    `source` is the path of a job list or of a job file (.toml; its windows and nights are not kept: it is
    worked on now), or the rows themselves: volume ids, or mappings with the columns of a job list. `state` is
    the path of the state file; it may be left out where the list is a file. Called again with the same
    arguments, an export goes on where it was.

    `on_change` is called in the event loop with each change of a row, once it is on disk; it must not block.
    An error that it raises is logged. SystemExit and KeyboardInterrupt end the export as a cancellation does,
    and are raised once it has drained.

    Where the task is cancelled, nothing more is sent; what was sent gets its answer, that answer is recorded,
    servers that were stopped are started, and then CancelledError is raised. Cancelled once more, it ends at
    once: the state file is right all the same.

    Raises JobListError with every problem of the list, ConfigError, StateError, and CloudError where the
    whole run had to stop; `read_outcome` then tells what came of the rows.
    """
    source, state = _listed(source, state)
    config = _config(source, state, options)
    with _alone(config.state_path):
        found = await look_up(config, config.state_path)
        started = await _start(config, found)
        config = msgspec.structs.replace(config, settings=started.settings)
        return await _work(config, config.state_path, on_change)


async def resume(
    state: str | Path,
    *,
    on_change: Callable[[JobChange], object] | None = None,
    retry_failed: bool = False,
    retry_skipped: bool = False,
    **options: Unpack[ExportOptions],
) -> Outcome:
    """Go on with a state file, without its list; otherwise as `export`.

    Image options are those of the state file. With `retry_failed` and `retry_skipped`, rows that ended so are
    tried again.
    """
    export_again = parse_export_again(options.pop("export_again", None))
    config = resolve_resume(
        stores.reference(str(state)), layer_of(options), os.environ, export_again=export_again
    )
    wanted = {JobState.FAILED: retry_failed, JobState.SKIPPED: retry_skipped}
    with _alone(stores.reference(str(state))):
        return await _work(
            config, stores.reference(str(state)), on_change, [each for each, said in wanted.items() if said]
        )


async def plan_export(
    source: str | Path | Rows, *, state: str | Path | None = None, **options: Unpack[ExportOptions]
) -> Mapping[TargetKey, PlanSummary]:
    """Look at every volume of a list in the cloud, and tell which rows can go. Sends and keeps nothing.

    By target; `summary.cannot` counts rows that would fail. Raises JobListError, ConfigError, CloudError.
    """
    if isinstance(source, (str, Path)):
        return await plan_list(_config(str(source), state, options))
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="batchexport-") as folder:
        path, place = _listed(source, Path(folder) / "plan.state")
        return await plan_list(_config(path, place, options))


async def discover(
    *, volume_filter: VolumeFilter | None = None, **options: Unpack[SignInOptions]
) -> list[Volume]:
    """The volumes of the project that match, in the order of the cloud; without a filter, all.

    Raises CloudError, ConfigError.
    """
    settings, access = settings_from(layer_of(options))
    return await discover_volumes(volume_filter or VolumeFilter(), settings, access)


async def verify(state: str | Path, **options: Unpack[SignInOptions]) -> Mapping[TargetKey, Verification]:
    """Look again at every image that an export made: active, in the formats asked for, whole. By target.

    Raises StateError, CloudError, ConfigError.
    """
    config = resolve_resume(stores.reference(str(state)), layer_of(options), os.environ)
    return await verify_images(stores.reference(str(state)), config.settings, config.access)


def read_outcome(state: str | Path) -> Outcome:
    """What became of every volume so far, from the state file alone: during an export, after it, without it.

    Blocks while it reads: use `asyncio.to_thread` where that matters. Raises StateError.
    """
    with stores.read(stores.reference(str(state))) as reader:
        return outcome_in(stores.reference(str(state)), reader, outcome_of(reader, stopped=None, wait=True))


def render_report(
    state: str | Path, form: Literal["table", "csv", "json", "html", "markdown"] = "json"
) -> str:
    """The report of `batchexport report -f FORM` as text. Blocks while it reads. Raises StateError."""
    with stores.read(stores.reference(str(state))) as reader:
        return "\n".join(report_lines(reader, ReportFormat(form), now=time.time()))


async def _start(config: RunConfig, found: LookUp) -> Started:
    """`start` in a thread, which is waited for on cancellation too: it writes the state file."""
    task = asyncio.ensure_future(asyncio.to_thread(start, config, config.state_path, LogConsole(), found))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _work(
    config: RunConfig,
    state_path: Path,
    on_change: Callable[[JobChange], object] | None,
    again: Sequence[JobState] = (),
) -> Outcome:
    """Work on the state file until it is done, or until the caller is cancelled and all is drained."""
    began_at, stop = time.time(), asyncio.Event()
    allowance = Allowance.of(config.settings.limits, began_at=began_at)
    pace = None if allowance.ends_at is None else throughput_of(state_path)
    ended = partial(record_end, state_path, began_at=began_at, job=config.job_name or None)
    listener = _Listener(on_change, stop)
    task = asyncio.create_task(
        work(
            state_path,
            config.settings,
            config.access,
            LogConsole(),
            stop=stop,
            observe=partial(_observed, None if on_change is None else listener),
            again=again,
            hours=allowance.hours(None, pace),
            budget=allowance.budget,
        )
    )
    failure: BaseException | None = None
    try:
        await _shielded(task, stop)
    except BaseException as error:
        failure = error
    if (failure := listener.exit or failure) is not None:
        exit_code, error_text = _end_of(failure)
        ended(exit_code=exit_code, error=error_text)
        raise failure
    with stores.read(state_path) as reader:
        outcome = outcome_of(reader, stopped=None, wait=config.settings.wait, in_window=allowance.is_limited)
        ended(exit_code=outcome.exit_code, error=None)
        return outcome_in(state_path, reader, outcome)


async def _shielded(task: asyncio.Task[int], stop: asyncio.Event) -> None:
    """Wait for the task. The first cancellation asks it to stop and waits for it, the next one cancels it."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        log.info("cancelled: waiting for what was sent", extra={"action": "drain"})
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            with suppress(BaseException):
                await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("ended with an error while draining: %s", error, extra={"action": "drain"})
        raise


def _end_of(failure: BaseException) -> tuple[int, str]:
    """The exit code and the words for an export that ended with this."""
    match failure:
        case asyncio.CancelledError():
            return _CANCELLED, "cancelled"
        case BatchExportError():
            return failure.exit_code, str(failure)
        case Exception():
            return 1, f"unexpected {type(failure).__name__}: {failure}"
        case _:
            return _CANCELLED, f"on_change raised {type(failure).__name__}"


class _Listener:
    """Calls `on_change`. What it raises to end the program ends the export first, and is kept for then."""

    def __init__(self, call: Callable[[JobChange], object] | None, stop: asyncio.Event) -> None:
        self._call = call
        self._stop = stop
        self.exit: BaseException | None = None

    def __call__(self, change: JobChange) -> None:
        if self._call is None or self.exit is not None:
            return
        try:
            self._call(change)
        except Exception:  # whatever a caller does with it must not end an export
            extra = {"action": "on_change", "volume_id": change.job.volume_id}
            log.exception("on_change failed", extra=extra)
        except (
            BaseException
        ) as error:  # raised here, it would leave the event loop in the middle of a request
            self.exit = error
            what = type(error).__name__
            log.info("on_change raised %s: waiting for what was sent", what, extra={"action": "drain"})
            self._stop.set()


@asynccontextmanager
async def _observed(listener: _Listener | None, connect: Connect) -> AsyncIterator[Observed]:
    yield Observed(connect, listener)


def _config(source: str, state: str | Path | None, options: ExportOptions) -> RunConfig:
    export_again = parse_export_again(options.pop("export_again", None))
    return resolve_config(
        source,
        layer_of(options),
        os.environ,
        state_path=None if state is None else stores.reference(str(state)),
        export_again=export_again,
    )


def _listed(source: str | Path | Rows, state: str | Path | None) -> tuple[str, str | Path | None]:
    """The path of the list; of rows, that of a file that is written beside the state file."""
    if isinstance(source, (str, Path)):
        return str(source), state
    if state is None:
        raise ConfigError("state is missing: rows have no name that a state file could be called after")
    rows = _rows(source)
    path = stores.reference(str(state)).with_name(f"{stores.reference(str(state)).name}.list.json")
    try:
        write_whole(path, [json.dumps(rows, ensure_ascii=False, indent=1, default=str)])
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return str(path), state


def _rows(source: Rows) -> list[Mapping[str, object]]:
    """The rows with their columns. Raises JobListError for what is none."""
    if isinstance(source, (bytes, Mapping)) or not isinstance(source, Iterable):
        raise JobListError(f"the list is a {type(source).__name__}: it must be a path or rows")
    rows = [{"volume_id": row} if isinstance(row, str) else row for row in source]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise JobListError(f"row {number} is a {type(row).__name__}: it must be a volume id or a mapping")
    return rows


@contextmanager
def _alone(state_path: Path) -> Iterator[None]:
    """The state file for one export of this process. Raises StateInUseError."""
    place = state_path.resolve()
    if place in _in_use:
        raise StateInUseError(
            f"{state_path}: another export of this process works on this state file",
            hint="await that one, or give this one a state file of its own",
        )
    _in_use.add(place)
    try:
        yield
    finally:
        _in_use.discard(place)

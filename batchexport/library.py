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
from typing import Literal, TypedDict, Unpack

import msgspec

from batchexport.app.allowance import Allowance, throughput_of
from batchexport.app.console import LogConsole
from batchexport.app.discover import discover_volumes
from batchexport.app.plan import plan_list
from batchexport.app.run import outcome_of, record_end, work
from batchexport.app.run_config import RunConfig, resolve_config, resolve_resume, settings_from
from batchexport.app.start import LookUp, Started, look_up, start
from batchexport.app.verify import verify_images
from batchexport.changes import JobChange
from batchexport.config.keywords import layer_from, parse_export_again
from batchexport.config.settings import Layer
from batchexport.config.volume_filter import VolumeFilter
from batchexport.dialect import ALLOWED
from batchexport.engine import Connect, OnChange
from batchexport.errors import BatchExportError, ConfigError, JobListError, StateInUseError
from batchexport.files import write_whole
from batchexport.model import JobState, TargetKey, Volume
from batchexport.outcome import Outcome, outcome_in
from batchexport.plan import PlanSummary
from batchexport.plan.image_checks import Verification
from batchexport.report.formats import ReportFormat, report_lines
from batchexport.store import stores

__all__ = [
    "ExportOptions",
    "SignInOptions",
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


class SignInOptions(TypedDict, total=False):
    """How to sign in, and at what pace; what is left out comes from clouds.yaml and `OS_…` variables."""

    cloud: str  #: entry of clouds.yaml; `sandbox`, where none has this name, starts one in this process
    sign_in: Mapping[str, str]  #: values by the names openstacksdk gives them: `auth_url`, `username` …
    insecure: bool  #: do not verify the cloud's certificates
    sign_in_timeout_s: float  #: how long to retry while the identity service does not answer
    dialect: Literal["evs", "cinder"]  #: whose rules block storage follows; found out where it is left out
    requests_per_second: float  #: 0 = unlimited


class ExportOptions(SignInOptions, total=False):
    """Options of `export`, by the names of the command's; each left out has the command's default."""

    order: Literal["size", "list", "priority"]  #: which volumes are exported first
    max_exports: int  #: volumes being copied at once
    concurrency: int  #: requests in flight at once
    poll_interval_s: float
    retries: int  #: further attempts after one that failed
    max_duration_s: float  #: end after this time with what is left to do
    max_gib: int  #: export at most so much
    max_failures: int | str  #: stop the run at so many failed rows: `10` or `"5%"`
    in_doubt_timeout_s: float  #: how long the cloud may still carry out a request that it did not answer
    in_use: Literal["fail", "skip", "force", "stop", "snapshot"]  #: what becomes of volumes that a server has
    stop_servers: bool  #: with `in_use="stop"`: True = agreed, servers may be stopped
    hard_stop: bool
    max_servers_down: int
    stop_timeout_s: float
    max_temporary: int  #: with `in_use="snapshot"`: temporary volumes at once
    max_temporary_gib: int  #: GiB of these together
    deliver: Sequence[str]  #: where each image goes after its export: `cloud:west`, `file:///backups/` …
    drop_source_image: bool  #: delete the image in its own cloud once everything is delivered and verified
    max_transfers: int  #: images that are streamed at once
    bandwidth: float | str  #: bytes per second of all streams together: `200e6` or `"200M"`
    name_template: str
    encoding: str  #: of the list
    disk_format: str
    container_format: str
    os_type: str
    visibility: str
    protected: bool
    properties: Mapping[str, str]  #: to be set on each image
    tags: Sequence[str]  #: to be set on each image
    provenance: bool  #: say on each image what it was made of; left out = where labels are set
    preflight: bool  #: look at the volumes before sending
    wait: bool  #: False = return once every row was accepted; `resume` watches the rest
    export_again: bool  #: also what another state file in the same folder shows as exported


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

    `on_change` is called in the event loop with each change of a row, once it is on disk; it must not block,
    and what it raises is logged.

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
    task = asyncio.create_task(
        work(
            state_path,
            config.settings,
            config.access,
            LogConsole(),
            stop=stop,
            observe=partial(_observed, on_change),
            again=again,
            hours=allowance.hours(None, pace),
            budget=allowance.budget,
        )
    )
    try:
        await _shielded(task, stop)
    except asyncio.CancelledError:
        ended(exit_code=_CANCELLED, error="cancelled")
        raise
    except BatchExportError as error:
        ended(exit_code=error.exit_code, error=str(error))
        raise
    except Exception as error:
        ended(exit_code=1, error=f"unexpected {type(error).__name__}: {error}")
        raise
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


@asynccontextmanager
async def _observed(
    call: Callable[[JobChange], object] | None, connect: Connect
) -> AsyncIterator[tuple[Connect, OnChange | None]]:
    yield connect, None if call is None else partial(_call, call)


def _call(call: Callable[[JobChange], object], change: JobChange) -> None:
    try:
        call(change)
    except Exception:  # whatever a caller does with it must not end an export
        log.exception("on_change failed", extra={"action": "on_change", "volume_id": change.job.volume_id})


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


def layer_of(options: Mapping[str, object]) -> Layer:
    """The options as a layer of settings. Raises ConfigError for what is none."""
    return layer_from(options, allowed=ALLOWED)


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

"""The configuration of a run, resolved once: flags or arguments, environment, job file, defaults."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from batchexport.app.embedded_sandbox import check_weather
from batchexport.config import (
    CloudSettings,
    CopyLimits,
    DeliverySettings,
    InUse,
    Limits,
    ServerStops,
    Settings,
)
from batchexport.config.hooks import Hooks
from batchexport.config.schedule import ScheduleConfig
from batchexport.config.settings import Layer
from batchexport.dialect import ALLOWED, DIALECTS, Dialect, DialectName
from batchexport.errors import ConfigError, JobListError

if TYPE_CHECKING:
    from batchexport.config.outputs import Notify, Reports
    from batchexport.config.volume_filter import VolumeFilter

#: Names the database that runs are kept in where nothing else says where.
DATABASE_VARIABLE = "BATCHEXPORT_DATABASE"
_LIMITS = Limits.__struct_fields__
_STOPS = ServerStops.__struct_fields__
_COPIES = CopyLimits.__struct_fields__
_DELIVERIES = DeliverySettings.__struct_fields__
#: Sign-in values that a job file may give, and the variables that stand above the job file.
_ABOVE_JOB_FILE = {"region_name": "OS_REGION_NAME", "project_name": "OS_PROJECT_NAME"}


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What to work on, and how: everything that was asked for, resolved."""

    source: str  #: path of the job list, `-` for stdin; empty where the list is discovered
    said_state_path: Path | None
    settings: Settings
    access: CloudSettings
    volume_filter: VolumeFilter | None = None  #: what is discovered for the list; None = it is a file
    schedule: ScheduleConfig = ScheduleConfig()  #: of the job file; without one, at any time
    notify: Notify | None = None
    reports: Reports | None = None
    job_name: str = ""  #: the job file's name; empty without one
    job_folder: Path = Path()  #: where the job file is

    @property
    def state_path(self) -> Path:
        """The state file: as given, else named after the list, or the job that discovers it, and beside it.

        Raises ConfigError or JobListError where the list has no place or no name for it.
        """
        if self.said_state_path is not None:
            return in_database(self.said_state_path, self._default_state_path)
        return self._default_state_path()

    def _default_state_path(self) -> Path:
        if self.volume_filter is not None:
            return default_state_path(self.job_folder / self.job_file_name)
        list_path = Path(self.source)
        if self.source == "-" or _is_stream(list_path):
            raise ConfigError(
                f"--state is missing: a list from {'stdin' if self.source == '-' else 'a pipe'} has no name"
                " that it could be called after"
            )
        if not list_path.name or list_path.is_dir():
            raise JobListError(
                f"{self.source} is a folder, not a job list", hint="give the path of a file in it"
            )
        return default_state_path(list_path)

    @property
    def job_file_name(self) -> str:
        """What a list is called that the job file discovers."""
        return f"{self.job_name}.toml"

    @property
    def dialect(self) -> Dialect | None:
        """The rules that the list is checked by; None = those of either cloud."""
        return None if self.access.dialect is None else DIALECTS[DialectName(self.access.dialect)]


def in_database(said: Path, default: Callable[[], Path]) -> Path:
    """The place that was named for a run; where that is a database alone, the run of the default's name."""
    from batchexport.store import stores

    if stores.is_folder_of_runs(said):
        return stores.reference(f"{said}/{default().stem}")
    return said


def default_state_path(list_path: Path) -> Path:
    """The state file of a list that says nothing of it: beside it, whatever folder the command is run in.

    Earlier versions made it in the current folder: one that is there, and of this list, is gone on with.
    """
    path = list_path.with_suffix(".state")
    if path == list_path:
        raise JobListError(
            f"{list_path} is called as a state file is, not as a list",
            hint=f"`batchexport resume {list_path}` resumes a state file",
        )
    former = Path(path.name)
    if not path.exists() and former.exists() and _is_of(former, list_path):
        return former
    return path


def _is_of(state_path: Path, list_path: Path) -> bool:
    """Whether the state file was made from a list of this name. Raises StateError if it cannot be read."""
    from batchexport.store import stores

    with stores.read(state_path) as reader:
        return Path(reader.run.list_name).name == list_path.name


def _is_stream(path: Path) -> bool:
    """Whether the list is a pipe or the like: read once, and known by no name of its own."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # there is none, or no path can be like that
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def resolve_config(
    source: str,
    layer: Layer,
    environment: Mapping[str, str],
    *,
    state_path: Path | None = None,
    default_in_use: InUse | None = None,
    rebind_cloud: bool = False,
    export_again: bool = False,
) -> RunConfig:
    """The configuration of a list or a job file, with `layer` above environment and job file.

    `default_in_use` applies where neither layer nor job file says what becomes of volumes in use. Raises
    ConfigError.
    """
    schedule, job_name, job_folder = ScheduleConfig(), "", Path()
    notify, reports, volume_filter, hooks = None, None, None, Hooks()
    if is_job_file(source):
        from batchexport.config.jobfile import read_job_file

        job_file = read_job_file(Path(source), allowed=ALLOWED)
        schedule, job_name, job_folder = job_file.nights, Path(source).stem, Path(source).parent
        notify, reports, volume_filter = job_file.notify, job_file.reports, job_file.volume_filter
        hooks = job_file.hooks
        if state_path is not None:
            schedule = replace(schedule, state_dir=None)
        source, state_path = str(job_file.list_path or ""), state_path or job_file.state_path
        if state_path is None and job_file.state_address is not None:
            state_path = _reference(job_file.state_address)
        layer = layer.over(under_environment(job_file.layer, environment))
    if state_path is None and environment.get(DATABASE_VARIABLE):
        from batchexport.store.postgres.address import database_of

        state_path = database_of(environment)
    settings, access = settings_from(layer.over(Layer(in_use=default_in_use)))
    check_weather(access.cloud or environment.get("OS_CLOUD"))
    return RunConfig(
        source=source,
        said_state_path=state_path,
        settings=replace(settings, rebind_cloud=rebind_cloud, export_again=export_again, hooks=hooks),
        access=access,
        volume_filter=volume_filter,
        schedule=schedule,
        notify=notify,
        reports=reports,
        job_name=job_name,
        job_folder=job_folder,
    )


def is_job_file(source: str | Path) -> bool:
    """Whether the name is that of a job file."""
    return str(source).lower().endswith(".toml")


def resolve_resume(
    state_path: Path,
    layer: Layer,
    environment: Mapping[str, str],
    *,
    job_path: Path | None = None,
    rebind_cloud: bool = False,
    export_again: bool = False,
) -> RunConfig:
    """The configuration for going on with a state file, from `layer` and a job file where there is one.

    Image settings stay those of the state file, and servers are still stopped where they were to be, unless
    layer or job file say otherwise. Raises ConfigError.
    """
    from batchexport.intake import as_stored
    from batchexport.store import stores

    with stores.read(state_path) as reader:
        run = reader.run
    if job_path is None:
        settings, access = settings_from(layer.over(Layer(in_use=run.in_use)))
        settings = replace(settings, rebind_cloud=rebind_cloud, export_again=export_again)
        config = RunConfig(source="", said_state_path=state_path, settings=settings, access=access)
    elif is_job_file(job_path):
        config = resolve_config(
            str(job_path),
            layer,
            environment,
            default_in_use=run.in_use,
            rebind_cloud=rebind_cloud,
            export_again=export_again,
        )
    else:
        raise ConfigError(f"--job: {job_path} is no job file", hint="job files are TOML, and end in .toml")
    return replace(config, settings=as_stored(config.settings, run), said_state_path=state_path)


def newest_state_of(job_path: Path) -> Path:
    """The state file of a job, of several nights that of the last. Raises ConfigError where there is none."""
    from batchexport.nightly_runs import run_files

    config = resolve_config(str(job_path), Layer(), os.environ)
    folder = config.schedule.state_dir
    known = [config.state_path] if folder is None else run_files(folder, config.job_name)
    if not known or not known[-1].exists():
        raise ConfigError(
            f"{job_path}: this job has no state file yet, in {folder or config.state_path.parent}",
            hint=f"`batchexport run {job_path}` makes the first",
        )
    return known[-1]


def _reference(text: str) -> Path:
    from batchexport.store import stores

    return stores.reference(text)


def under_environment(layer: Layer, environment: Mapping[str, str]) -> Layer:
    """The job file's layer, with `OS_…` variables in the place of what it says about the same thing."""
    options = {name: environment.get(_ABOVE_JOB_FILE[name]) or value for name, value in layer.options.items()}
    cloud = layer.cloud and (environment.get("OS_CLOUD") or layer.cloud)
    return Layer(cloud=cloud, options=options).over(layer)


def settings_from(layer: Layer) -> tuple[Settings, CloudSettings]:
    """The settings of a run, with defaults for what is not given. Raises ConfigError."""
    _check_against_dialect(layer)
    limits = replace(Limits(), **_said(layer, _LIMITS))
    server_stops = replace(ServerStops(), **_said(layer, _STOPS))
    copies = replace(CopyLimits(), **_said(layer, _COPIES))
    said = _said(layer, ("name_template", "quiesce", "order", "in_use", "wait", "preflight", "encoding"))
    deliveries = DeliverySettings(**_said(layer, _DELIVERIES))
    parts = Settings(
        limits=limits, server_stops=server_stops, copies=copies, image=layer.image, deliveries=deliveries
    )
    settings = replace(parts, **said)
    access = CloudSettings(
        cloud=layer.cloud,
        options=layer.options,
        dialect=layer.dialect,
        sign_in_timeout_s=layer.sign_in_timeout_s,
    )
    return settings, access


def _said(layer: Layer, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(layer, name)) is not None}


def _check_against_dialect(layer: Layer) -> None:
    """Refuse image settings that the dialect, where one is set, would refuse for every row."""
    if layer.dialect is None:
        return
    dialect, image = DIALECTS[DialectName(layer.dialect)], layer.image
    if fault := dialect.disk_format_problem(image.disk_format):
        raise ConfigError(fault)
    if image.os_type and not dialect.takes_os_type:
        raise ConfigError(f"os type is set, but {dialect.name} takes none")
    if (image.visibility or image.protected is not None) and not dialect.takes_visibility:
        raise ConfigError(f"visibility or protection is set, but {dialect.name} takes neither")
    if image.tags and not dialect.takes_tags:
        raise ConfigError(
            f"tags are set, but {dialect.name} takes none", hint="use properties in their place"
        )

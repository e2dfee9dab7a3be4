"""What flags, environment and job file say, laid over each other into the settings of a run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec.structs import replace

from batchexport.cli.options import ALLOWED, JOB_FILE
from batchexport.cli.run_options import SIGN_IN
from batchexport.config import CloudSettings, InUse, Limits, ServerStops, Settings
from batchexport.config.schedule import ScheduleConfig
from batchexport.config.settings import Layer
from batchexport.dialect import DIALECTS, Dialect, DialectName
from batchexport.errors import ConfigError, JobListError
from batchexport.model import ImageOptions

if TYPE_CHECKING:
    from batchexport.config.outputs import Notify, Reports
    from batchexport.config.volume_filter import VolumeFilter

_LIMITS = Limits.__struct_fields__
_STOPS = ServerStops.__struct_fields__
_IMAGE = ("disk_format", "container_format", "os_type", "visibility", "protected")
#: Sign-in values that a job file may give, and the variables that stand above the job file.
_ABOVE_JOB_FILE = {"region_name": "OS_REGION_NAME", "project_name": "OS_PROJECT_NAME"}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a command was asked to work on, and how."""

    source: str  #: path of the job list, `-` for stdin; empty where the list is discovered
    said_state_path: Path | None
    settings: Settings
    access: CloudSettings
    wanted: VolumeFilter | None = None  #: what is discovered for the list; None = it is a file
    nights: ScheduleConfig = ScheduleConfig()  #: of the job file; without one, at any time
    notify: Notify | None = None
    reports: Reports | None = None
    job_name: str = ""  #: the job file's name; empty without one
    job_folder: Path = Path()  #: where the job file is

    @property
    def state_path(self) -> Path:
        """The state file: as said, else named after the list, or the job that discovers it, and beside it.

        Raises ConfigError or JobListError where the list has no place or no name for it.
        """
        if self.said_state_path is not None:
            return self.said_state_path
        if self.wanted is not None:
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


def default_state_path(list_path: Path) -> Path:
    """The state file of a list that says nothing of it: beside it, whatever folder the command is run in.

    Earlier versions made it in the current folder: one that is there, and of this list, is gone on with.
    """
    path = list_path.with_suffix(".state")
    if path == list_path:
        raise JobListError(
            f"{list_path} is called as a state file is, not as a list",
            hint=f"`batchexport resume {list_path}` carries on with a state file",
        )
    former = Path(path.name)
    if not path.exists() and former.exists() and _is_of(former, list_path):
        return former
    return path


def _is_of(state_path: Path, list_path: Path) -> bool:
    """Whether the state file was made from a list of this name. Raises StateError if it cannot be read."""
    from batchexport.store import StateReader

    with StateReader(state_path) as reader:
        return Path(reader.run.list_name).name == list_path.name


def _is_stream(path: Path) -> bool:
    """Whether the list is a pipe or the like: read once, and known by no name of its own."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # there is none, or no path can be like that
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def order_from(
    source: str, flags: Mapping[str, Any], environment: Mapping[str, str], *, in_use: InUse | None = None
) -> Order:
    """The order that a list or a job file makes together with flags and environment. Raises ConfigError.

    `in_use` is what becomes of volumes in use where neither says it.
    """
    layer, state_path = layer_from_flags(flags), flags.get("state_path")
    plan, job_name, job_folder = ScheduleConfig(), "", Path()
    notify, reports, wanted = None, None, None
    if is_job_file(source):
        from batchexport.config.jobfile import read_job_file

        job_file = read_job_file(Path(source), allowed=ALLOWED)
        plan, job_name, job_folder = job_file.nights, Path(source).stem, Path(source).parent
        notify, reports, wanted = job_file.notify, job_file.reports, job_file.volume_filter
        if state_path is not None:
            plan = replace(plan, state_dir=None)
        source, state_path = str(job_file.list_path or ""), state_path or job_file.state_path
        layer = layer.over(under_environment(job_file.layer, environment))
    settings, access = settings_from(layer.over(Layer(in_use=in_use)))
    settings = _with_flags_alone(settings, flags)
    return Order(
        source=source,
        said_state_path=state_path,
        settings=settings,
        access=access,
        wanted=wanted,
        nights=plan,
        notify=notify,
        reports=reports,
        job_name=job_name,
        job_folder=job_folder,
    )


def is_job_file(source: str | Path) -> bool:
    """Whether the name is that of a job file."""
    return str(source).lower().endswith(".toml")


def order_to_go_on(state_path: Path, flags: Mapping[str, Any], environment: Mapping[str, str]) -> Order:
    """The order to go on with a state file, by flags and the job file of --job where there is one.

    What the state file fixes of the images stays, and where servers were to be stopped they are still, unless
    flags or job file say otherwise. Raises ConfigError.
    """
    from batchexport.intake import as_stored
    from batchexport.store import StateReader

    with StateReader(state_path) as reader:
        run = reader.run
    context = click.get_current_context(silent=True)
    given: Path | None = context.meta.get(JOB_FILE) if context is not None else None
    job_path: Path | None = flags.get("job_path") or given
    if job_path is None:
        layer = layer_from_flags(flags)
        settings, access = settings_from(layer.over(Layer(in_use=run.in_use)))
        settings = _with_flags_alone(settings, flags)
        order = Order(source="", said_state_path=state_path, settings=settings, access=access)
    elif is_job_file(job_path):
        order = order_from(str(job_path), flags, environment, in_use=run.in_use)
    else:
        raise ConfigError(f"--job: {job_path} is no job file", hint="job files are TOML, and end in .toml")
    return replace(order, settings=as_stored(order.settings, run), said_state_path=state_path)


def newest_state_of(job_path: Path) -> Path:
    """The state file of a job, of several nights that of the last. Raises ConfigError where there is none."""
    from batchexport.nightly_runs import run_files

    order = order_from(str(job_path), {}, os.environ)
    folder = order.nights.state_dir
    known = [order.state_path] if folder is None else run_files(folder, order.job_name)
    if not known or not known[-1].exists():
        raise ConfigError(
            f"{job_path}: this job has no state file yet, in {folder or order.state_path.parent}",
            hint=f"`batchexport run {job_path}` makes the first",
        )
    return known[-1]


def settings_for(state_path: Path, flags: Mapping[str, Any]) -> tuple[Settings, CloudSettings]:
    """The settings for a visit to the cloud after a run: what it fixes of the images stays."""
    order = order_to_go_on(state_path, flags, {})
    return order.settings, order.access


def layer_from_flags(flags: Mapping[str, Any]) -> Layer:
    """What the flags say, by the names that Click gives their values. Not every command has them all."""
    options = {name: value for name in SIGN_IN if (value := flags.get("os_" + name)) is not None}
    if flags.get("insecure"):
        options["insecure"] = "true"
    return Layer(
        **{
            name: flags.get(name)
            for name in (
                *_LIMITS,
                *_STOPS,
                "name_template",
                "dialect",
                "encoding",
                "sign_in_timeout_s",
            )
        },
        in_use=InUse(flags["in_use"]) if flags.get("in_use") else None,
        wait=False if flags.get("no_wait") else None,
        preflight=False if flags.get("no_preflight") else None,
        cloud=flags.get("os_cloud"),
        image=ImageOptions(**{name: flags.get(name) for name in _IMAGE}),
        options=options,
    )


def _with_flags_alone(settings: Settings, flags: Mapping[str, Any]) -> Settings:
    """The settings, with what is said for one command only and stands in no job file."""
    return replace(
        settings,
        rebind_cloud=bool(flags.get("rebind_cloud")),
        export_again=bool(flags.get("export_again")),
    )


def under_environment(layer: Layer, environment: Mapping[str, str]) -> Layer:
    """The job file's layer, with `OS_…` variables in the place of what it says about the same thing."""
    options = {name: environment.get(_ABOVE_JOB_FILE[name]) or value for name, value in layer.options.items()}
    cloud = layer.cloud and (environment.get("OS_CLOUD") or layer.cloud)
    return Layer(cloud=cloud, options=options).over(layer)


def settings_from(layer: Layer) -> tuple[Settings, CloudSettings]:
    """The settings of a run, with the defaults for what nobody said. Raises ConfigError."""
    _check_against_dialect(layer)
    limits = replace(Limits(), **_said(layer, _LIMITS))
    server_stops = replace(ServerStops(), **_said(layer, _STOPS))
    said = _said(layer, ("name_template", "in_use", "wait", "preflight", "encoding"))
    settings = replace(Settings(limits=limits, server_stops=server_stops, image=layer.image), **said)
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

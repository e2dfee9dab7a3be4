"""The job file: one TOML file that names a list, a cloud and the settings of a run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from batchexport.config import schedule, values
from batchexport.config.destination import DELIVER, deliver_from
from batchexport.config.hooks import Hooks, hooks_from
from batchexport.config.outputs import Notify, Reports, notify_from, reports_from
from batchexport.config.schedule import ScheduleConfig
from batchexport.config.settings import Layer
from batchexport.config.snapshot import quiesce_from
from batchexport.config.values import Table, did_you_mean
from batchexport.config.volume_filter import VolumeFilter, volume_filter_from
from batchexport.errors import ConfigError
from batchexport.image_labels import properties_of
from batchexport.model import ImageOptions, InUse

_TABLES = (
    "job",
    "discover",
    "cloud",
    "image",
    "limits",
    "servers",
    "snapshot",
    *schedule.TABLES,
    "report",
    "notify",
    "hooks",
)


#: Sign-in values that a job file does not hold: it is no place for secrets.
_SIGN_IN = (
    "auth_url",
    "auth_type",
    "username",
    "user",
    "password",
    "token",
    "auth",
    "project_id",
    "domain",
    "user_domain_name",
    "project_domain_name",
    "application_credential_id",
    "application_credential_secret",
    "access_key",
    "secret_key",
)


class JobFile(msgspec.Struct, frozen=True, kw_only=True):
    """A job file, read and checked. Its paths stand as seen from the folder it is in."""

    list_path: Path | None  #: None = made of the volumes that match `volume_filter`
    state_path: Path | None  #: None = named after the list, or after the job file if it has none
    state_address: str | None = None  #: of a run in a database, in the place of a state file
    layer: Layer
    volume_filter: VolumeFilter | None = None  #: None = the list is a file
    nights: ScheduleConfig = msgspec.field(default_factory=ScheduleConfig)
    notify: Notify | None = None  #: None = no notifications
    reports: Reports | None = None  #: None = none are written
    hooks: Hooks = Hooks()


def read_job_file(path: Path, *, allowed: Mapping[str, Sequence[str]] | None = None) -> JobFile:
    """The job file at `path`; ConfigError names all of its problems at once.

    `allowed` maps keys that take one word of a closed set to that set.
    """
    content = _toml(path)
    known = (*_TABLES, DELIVER)
    problems = [f"[{name}]: unknown{did_you_mean(name, known)}" for name in content if name not in known]
    tables = {name: Table(name, content.get(name, {}), problems, allowed or {}) for name in _TABLES}
    volume_filter = volume_filter_from(tables["discover"]) if "discover" in content else None
    list_name, state_name = _list_name(tables["job"], volume_filter), tables["job"].text("state")
    layer = replace(_layer(tables), deliver=deliver_from(content, problems))
    nights = schedule.schedule_from(tables, present=frozenset(content), folder=path.parent)
    notify = notify_from(tables["notify"]) if "notify" in content else None
    reports = reports_from(tables["report"], folder=path.parent) if "report" in content else None
    hooks = hooks_from(tables["hooks"])
    tables["cloud"].refuse(_SIGN_IN, "belongs in the entry of clouds.yaml that name names, or in a variable")
    for table in tables.values():
        table.refuse_unread()
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError("\n  ".join([f"{path}: {count}, nothing was started", *problems]))
    is_address = state_name is not None and state_name.startswith(("postgresql:", "postgres:"))
    return JobFile(
        list_path=None if list_name is None else values.path_in(path.parent, list_name),
        state_path=None if state_name is None or is_address else values.path_in(path.parent, state_name),
        state_address=state_name if is_address else None,
        layer=layer,
        volume_filter=volume_filter,
        nights=nights,
        notify=notify,
        reports=reports,
        hooks=hooks,
    )


def _list_name(job: Table, volume_filter: VolumeFilter | None) -> str | None:
    """The list's file, which must be named unless the list is discovered."""
    name = job.text("list", required=volume_filter is None)
    if name is not None and volume_filter is not None:
        job.problem("list", "conflicts with [discover]: either name a list or discover the volumes")
    return name


def _layer(tables: Mapping[str, Table]) -> Layer:
    cloud, image, limits = (tables[name] for name in ("cloud", "image", "limits"))
    servers, snapshot = tables["servers"], tables["snapshot"]
    in_use = servers.read("in_use", values.parse_in_use)
    return Layer(
        cloud=cloud.text("name"),
        dialect=cloud.text("dialect"),
        options=_given(region_name=cloud.text("region"), project_name=cloud.text("project")),
        name_template=image.text("name_template"),
        encoding=tables["job"].read("encoding", values.parse_encoding),
        image=ImageOptions(
            disk_format=image.text("disk_format"),
            container_format=image.text("container_format"),
            os_type=image.text("os_type"),
            visibility=image.text("visibility"),
            protected=image.boolean("protected"),
            properties=image.read("properties", properties_of) or None,
            tags=image.read("tags", values.parse_tags) or None,
            provenance=image.boolean("provenance"),
        ),
        requests_per_second=limits.number("requests_per_second"),
        max_exports=limits.integer("max_exports", minimum=1),
        concurrency=limits.integer("concurrency", minimum=1),
        poll_interval_s=limits.duration("poll_interval", above=0),
        retries=limits.integer("retries", minimum=0),
        max_failures=limits.read("max_failures", values.parse_max_failures),
        max_duration_s=limits.duration("max_duration", above=0),
        max_gib=limits.integer("max_gib", minimum=1),
        settle_s=_in_doubt_timeout(limits),
        order=tables["job"].read("order", values.parse_order),
        in_use=in_use,
        agreed=True if in_use is InUse.STOP else None,
        hard_stop=servers.boolean("hard_stop"),
        max_down=servers.integer("max_down", minimum=1),
        stop_timeout_s=servers.duration("stop_timeout", above=0),
        max_temporary=snapshot.integer("max_temporary", minimum=1),
        max_temporary_gib=snapshot.integer("max_temporary_gib", minimum=1),
        quiesce=quiesce_from(snapshot),
        preflight=tables["job"].boolean("preflight"),
        drop_source=tables["job"].boolean("drop_source_image"),
        max_transfers=limits.integer("max_transfers", minimum=1),
        bandwidth=limits.read("bandwidth", values.parse_bandwidth),
    )


def _in_doubt_timeout(limits: Table) -> float | None:
    """The key, or `settle_time`, its former name."""
    timeout_s, former_s = limits.duration("in_doubt_timeout"), limits.duration("settle_time")
    if timeout_s is not None and former_s is not None:
        limits.problem("settle_time", "is the former name of in_doubt_timeout: set only that one")
    return former_s if timeout_s is None else timeout_s


def _toml(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the job file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the job file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}", hint=_hint_on(str(error))) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not a job file: it is nested too deeply") from error


def _hint_on(fault: str) -> str:
    """What is most likely meant where TOML is not."""
    if "'\\'" in fault or "hex value" in fault:
        return "in a path write / for \\, or put it in single quotes: 'C:\\data\\volumes.csv'"
    if "declare" in fault or "overwrite" in fault or "immutable" in fault:
        return "a table or a key may occur only once: merge the two"
    if "Invalid value" in fault or "Expected newline" in fault:
        return "texts and durations such as 5m need quotes; yes and no are true and false"
    return "a line is key = value, or a [table]"


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}

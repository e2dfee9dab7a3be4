"""The settings of a run as frozen records, each default with its reason, and the layers they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import msgspec

from batchexport.config.hooks import Hooks
from batchexport.errors import ConfigError
from batchexport.model import NO_OPTIONS, ExportOrder, ImageOptions, InUse
from batchexport.quiesce import QuiesceCommands

#: Unique within a run because the volume is, across runs because the run is. 50 characters; 128 are allowed.
DEFAULT_NAME_TEMPLATE = "{volume_id}-{run}"


class MaxFailures(msgspec.Struct, frozen=True):
    """How many failed rows end a run: a number, or a share of the list. None = never."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> MaxFailures:
        """From `10` or `5%`. Raises ConfigError for anything else."""
        try:
            if text.endswith("%"):
                percent = float(text[:-1])
                if 0 < percent <= 100:
                    return cls(percent=percent)
            elif (count := int(text)) >= 1:
                return cls(count=count)
        except ValueError:
            pass
        raise ConfigError(f"max failures: {text!r} is neither a number from 1 (10) nor a share (5%)")

    def limit(self, rows: int) -> int | None:
        """The number of failures at which a list of `rows` rows is stopped, at least 1; None = never."""
        if self.percent is not None:
            return max(1, -int(-rows * self.percent // 100))
        return self.count


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Rate, concurrency and patience of a run."""

    #: Every HTTP attempt counts. No cloud publishes its limit; 5/s keeps clear of those that were seen.
    #: 0 = unlimited.
    requests_per_second: float = 5.0
    #: Volumes the cloud is copying at once. Open Telekom Cloud documents 40 image tasks per project.
    max_exports: int = 40
    #: Requests in flight at once.
    concurrency: int = 16
    #: Seconds between two polls; None = by the age of the youngest export (5 to 60 s).
    poll_interval_s: float | None = None
    #: Further attempts after one that failed.
    retries: int = 4
    #: How long a request of unknown outcome may still be carried out by the cloud before it is sent again.
    settle_s: float = 30.0
    max_failures: MaxFailures = msgspec.field(default_factory=MaxFailures)
    #: Seconds after which a run, or a night, ends with work left; None = never.
    max_duration_s: float | None = None
    #: GiB after which it ends; None = never.
    max_gib: int | None = None


class ServerStops(msgspec.Struct, frozen=True, kw_only=True):
    """How servers are stopped whose volumes are to be exported with `InUse.STOP`."""

    #: Cut the power instead of asking the guest to shut down. Where a cloud has no such stop, it asks.
    hard_stop: bool = False
    #: Servers that may be down at once: no more than one person on duty can look after.
    max_down: int = 10
    #: How long a server may take to stop before it is left alone. Guests are given a minute by default, and
    #: some are set to many more.
    stop_timeout_s: float = 900.0
    #: The user agreed that servers may be stopped.
    agreed: bool = False


class CopyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many copies of volumes in use there may be at once, with `InUse.SNAPSHOT`."""

    #: Volumes; each may need a snapshot as well. Cinder gives a project ten of both where nobody set a quota.
    max_temporary: int = 8
    #: Their size together, snapshots not counted; None = as much as the quota allows.
    max_temporary_gib: int | None = None


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where images go after their export, and at what pace."""

    #: Of rows that name none themselves, as the user wrote them; None = as the state file notes.
    deliver: tuple[str, ...] | None = None
    #: Delete the image in its own cloud once everything is delivered and verified; None = as `deliver`.
    drop_source: bool | None = None
    #: Images that are streamed at once; each destination has a share. Two or three fill most lines.
    max_transfers: int = 4
    bandwidth: float | None = None  #: bytes per second of all streams together; None = unlimited


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings:
    """How to sign in: what `--os-…` flags or the job file say; the rest comes from clouds.yaml and `OS_…`."""

    cloud: str | None = None  #: entry of clouds.yaml; None = `OS_CLOUD`, or the `OS_…` variables themselves
    #: Further values by the names openstacksdk gives them: `auth_url`, `username`, `region_name`, `cacert` …
    #: Not in the repr: passwords are among them.
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    dialect: str | None = None  #: evs or cinder; None = found out from the catalog
    #: How long a first sign-in is tried again; None = minutes for a run, seconds for interactive commands.
    sign_in_timeout_s: float | None = None
    #: clouds.yaml that describes the cloud alone, whatever `OS_…` variables say; None = as the `openstack`
    #: client finds it.
    clouds_file: Path | None = None
    #: Whether only the entry of clouds.yaml describes the cloud: `OS_…` variables speak of another one.
    entry_alone: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run needs to know beside its list and its cloud."""

    limits: Limits = msgspec.field(default_factory=Limits)
    image: ImageOptions = NO_OPTIONS
    name_template: str = DEFAULT_NAME_TEMPLATE
    #: Where no row has a priority, the largest volumes go first: begun late, one of them alone lengthens the
    #: night.
    order: ExportOrder = ExportOrder.PRIORITY
    in_use: InUse = InUse.FAIL  #: for rows that do not specify it
    server_stops: ServerStops = msgspec.field(default_factory=ServerStops)
    copies: CopyLimits = msgspec.field(default_factory=CopyLimits)
    quiesce: QuiesceCommands = QuiesceCommands()  #: to run around the snapshots of a server
    preflight: bool = True  #: look at the volumes first, and end the rows that cannot go without sending them
    export_again: bool = False  #: volumes, too, that another state file beside this one shows as exported
    rebind_cloud: bool = False  #: the cloud's addresses have moved: the state file is to take the new ones
    encoding: str | None = None  #: of the list, a Python codec; None = UTF-8, or by its byte order mark
    wait: bool = True  #: False: end as soon as every row was accepted; run again to watch
    hooks: Hooks = Hooks()  #: of the job file
    deliveries: DeliverySettings = DeliverySettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The settings from one place. None = not set here, the next layer decides."""

    requests_per_second: float | None = None
    max_exports: int | None = None
    concurrency: int | None = None
    poll_interval_s: float | None = None
    retries: int | None = None
    max_failures: MaxFailures | None = None
    settle_s: float | None = None
    max_duration_s: float | None = None
    max_gib: int | None = None
    in_use: InUse | None = None
    hard_stop: bool | None = None
    max_down: int | None = None
    stop_timeout_s: float | None = None
    max_temporary: int | None = None
    max_temporary_gib: int | None = None
    quiesce: QuiesceCommands | None = None
    agreed: bool | None = None
    deliver: tuple[str, ...] | None = None
    drop_source: bool | None = None
    max_transfers: int | None = None
    bandwidth: float | None = None
    name_template: str | None = None
    order: ExportOrder | None = None
    encoding: str | None = None
    image: ImageOptions = NO_OPTIONS
    wait: bool | None = None
    preflight: bool | None = None
    cloud: str | None = None
    dialect: str | None = None
    sign_in_timeout_s: float | None = None
    #: Sign-in values by the names openstacksdk gives them. Not in the repr: passwords pass through here.
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def over(self, below: Layer) -> Layer:
        """This layer, with `below` filling what is not set here."""
        mixed = {
            each.name: getattr(below if getattr(self, each.name) is None else self, each.name)
            for each in fields(self)
        }
        mixed["image"] = self.image.over(below.image)
        mixed["options"] = {**below.options, **self.options}
        return Layer(**mixed)

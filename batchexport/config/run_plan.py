"""How a submitted run is to be worked on, as it is kept in a database: everything but credentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from batchexport.config.hooks import Hooks
from batchexport.config.settings import CloudSettings, DeliverySettings, Settings
from batchexport.errors import ConfigError, StateVersionError
from batchexport.quiesce import QuiesceCommands

#: Of the values for signing in, those that are no secret and no matter of one machine.
PLAIN_OPTIONS = frozenset({"region_name", "project_name", "project_id", "interface"})


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a run, and the name of the cloud that rows mean which name none."""

    settings: Settings
    cloud: str
    options: Mapping[str, str] = {}
    dialect: str | None = None
    sign_in_timeout_s: float | None = None

    def encode(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    @property
    def access(self) -> CloudSettings:
        """How a worker signs in, with what its own clouds.yaml has for the cloud."""
        return CloudSettings(
            cloud=self.cloud,
            options=self.options,
            dialect=self.dialect,
            sign_in_timeout_s=self.sign_in_timeout_s,
        )


def plan_of(settings: Settings, access: CloudSettings, *, default_cloud: str | None) -> RunPlan:
    """The plan of a run with these settings. Raises ConfigError for what workers cannot be given."""
    cloud = access.cloud or default_cloud
    if not cloud:
        raise ConfigError(
            "a submitted run needs the name of a cloud: workers sign in with their own clouds.yaml",
            hint="--os-cloud NAME; each worker's clouds.yaml has an entry of that name",
        )
    if secret := sorted(set(access.options) - PLAIN_OPTIONS):
        raise ConfigError(
            f"{', '.join(secret)}: a submitted run takes no credentials along",
            hint="put them into the clouds.yaml of the workers, under the name that --os-cloud gives",
        )
    if unfit := list(_unfit(settings)):
        raise ConfigError(
            f"workers do not know {', '.join(unfit)}", hint="leave it out, or use `batchexport run`"
        )
    return RunPlan(
        settings=settings,
        cloud=cloud,
        options=access.options,
        dialect=access.dialect,
        sign_in_timeout_s=access.sign_in_timeout_s,
    )


def read_plan(text: str) -> RunPlan:
    """The plan that a database holds. Raises StateVersionError for one of a newer program."""
    try:
        return msgspec.json.decode(text, type=RunPlan)
    except msgspec.DecodeError as error:
        raise StateVersionError(
            f"the plan of a submitted run cannot be read: {error}",
            hint="it was submitted by a newer batchexport: upgrade this worker",
        ) from error


def _unfit(settings: Settings) -> Iterator[str]:
    """What belongs to one process or to one machine."""
    if settings.limits.max_duration_s is not None:
        yield "--max-duration"
    if settings.limits.max_gib is not None:
        yield "--max-gib"
    if not settings.wait:
        yield "--no-wait"
    if settings.hooks != Hooks():
        yield "[hooks]"
    if settings.deliveries != DeliverySettings():
        yield "deliveries"
    if settings.quiesce != QuiesceCommands():
        yield "commands around snapshots"

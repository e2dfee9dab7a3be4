"""What one place (flags, job file) says about a run; layers can be laid over each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from batchexport.config.settings import MaxFailures
from batchexport.model import NO_OPTIONS, ImageOptions, InUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one place says about a run. None = nothing is said here, the next layer decides."""

    requests_per_second: float | None = None
    max_exports: int | None = None
    concurrency: int | None = None
    poll_interval_s: float | None = None
    retries: int | None = None
    max_failures: MaxFailures | None = None
    settle_s: float | None = None
    in_use: InUse | None = None
    hard_stop: bool | None = None
    max_down: int | None = None
    stop_timeout_s: float | None = None
    agreed: bool | None = None
    name_template: str | None = None
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
        """The layer with `below` filling what is not said here."""
        mixed = {
            each.name: getattr(below if getattr(self, each.name) is None else self, each.name)
            for each in fields(self)
        }
        mixed["image"] = self.image.over(below.image)
        mixed["options"] = {**below.options, **self.options}
        return Layer(**mixed)

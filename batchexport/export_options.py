"""The options of the library: how to sign in, and what to ask of an export, by the names of the command's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from batchexport.config.keywords import layer_from
from batchexport.config.settings import Layer
from batchexport.dialect import ALLOWED

__all__ = ["ExportOptions", "SignInOptions"]


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


def layer_of(options: Mapping[str, object]) -> Layer:
    """The options as a layer of settings. Raises ConfigError for what is none."""
    return layer_from(options, allowed=ALLOWED)

"""From the values that Click read to the configuration of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from batchexport.app.run_config import RunConfig, resolve_config, resolve_resume, settings_from
from batchexport.cli.cloud_options import SIGN_IN
from batchexport.cli.parameters import JOB_FILE
from batchexport.config import CloudSettings, InUse, Limits, ServerStops, Settings
from batchexport.config.settings import Layer
from batchexport.errors import ConfigError
from batchexport.image_labels import checked_properties, checked_tags
from batchexport.model import ExportOrder, ImageOptions

Value = TypeVar("Value")
_IMAGE = ("disk_format", "container_format", "os_type", "visibility", "protected", "provenance")
_BY_NAME = (
    *Limits.__struct_fields__,
    *ServerStops.__struct_fields__,
    "max_transfers",
    "bandwidth",
    "name_template",
    "dialect",
    "encoding",
    "sign_in_timeout_s",
)


def config_of_run(
    source: str, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> RunConfig:
    """The configuration of a list or a job file with these flags. Raises ConfigError."""
    state_path: Path | None = flags.get("state_path")
    return resolve_config(
        source,
        layer_from(flags),
        environment,
        state_path=state_path,
        rebind_cloud=bool(flags.get("rebind_cloud")),
        export_again=bool(flags.get("export_again")),
    )


def config_of_resume(
    state_path: Path, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> RunConfig:
    """The configuration for going on with a state file, by flags and --job. Raises ConfigError."""
    context = click.get_current_context(silent=True)
    given: Path | None = context.meta.get(JOB_FILE) if context is not None else None
    job_path: Path | None = flags.get("job_path") or given
    return resolve_resume(
        state_path,
        layer_from(flags),
        environment,
        job_path=job_path,
        rebind_cloud=bool(flags.get("rebind_cloud")),
        export_again=bool(flags.get("export_again")),
    )


def settings_of_visit(state_path: Path, flags: Mapping[str, Any]) -> tuple[Settings, CloudSettings]:
    """The settings for looking at the cloud after a run: what the run fixed of the images stays."""
    config = config_of_resume(state_path, flags, {})
    return config.settings, config.access


def settings_of_account(flags: Mapping[str, Any]) -> tuple[Settings, CloudSettings]:
    """The settings of a command that needs no list. Raises ConfigError."""
    return settings_from(layer_from(flags))


def layer_from(flags: Mapping[str, Any]) -> Layer:
    """What the flags say, by the names that Click gives their values. Not every command has them all."""
    options = {name: value for name in SIGN_IN if (value := flags.get("os_" + name)) is not None}
    if flags.get("insecure"):
        options["insecure"] = "true"
    return Layer(
        **{name: flags.get(name) for name in _BY_NAME},
        order=ExportOrder(flags["order"]) if flags.get("order") else None,
        in_use=InUse(flags["in_use"]) if flags.get("in_use") else None,
        deliver=tuple(each.text for each in flags["deliver"]) if flags.get("deliver") else None,
        drop_source=flags.get("drop_source"),
        wait=False if flags.get("no_wait") else None,
        preflight=False if flags.get("no_preflight") else None,
        cloud=flags.get("os_cloud"),
        image=ImageOptions(
            **{name: flags.get(name) for name in _IMAGE},
            properties=_checked("--property", checked_properties, flags.get("properties")),
            tags=_checked("--tag", checked_tags, flags.get("tags")),
        ),
        options=options,
    )


def _checked(flag: str, check: Callable[[Any], Value], given: object) -> Value | None:
    """What a flag gave that may be repeated; None = nothing. Raises ConfigError."""
    try:
        return check(given) if given else None
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from error

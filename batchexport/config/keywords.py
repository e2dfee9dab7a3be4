"""Settings as keyword arguments of the library, checked as the keys of a job file are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchexport.config import values
from batchexport.config.destination import check_destinations, read_destination
from batchexport.config.settings import Layer, MaxFailures
from batchexport.errors import ConfigError
from batchexport.image_labels import properties_of
from batchexport.model import ExportOrder, ImageOptions, InUse

#: Those of the images.
_IMAGE = (
    "disk_format",
    "container_format",
    "os_type",
    "visibility",
    "protected",
    "properties",
    "tags",
    "provenance",
)
#: Options that a layer calls otherwise.
_NAMES = {
    "in_doubt_timeout_s": "settle_s",
    "stop_servers": "agreed",
    "max_servers_down": "max_down",
    "drop_source_image": "drop_source",
}


def layer_from(options: Mapping[str, object], *, allowed: Mapping[str, Sequence[str]]) -> Layer:
    """The layer of settings that the options make; None counts as left out.

    `allowed`: the words that a text may be, by the name of the option. Raises ConfigError with every option
    that is none, or has a value that it cannot have.
    """
    said: dict[str, Any] = {}
    problems = []
    for name, value in options.items():
        try:
            if name not in _READERS:
                raise ValueError(f"no such option{values.did_you_mean(name, _READERS)}")
            if value is not None:
                said[_NAMES.get(name, name)] = _READERS[name](value)
            if value is not None and name in allowed:
                values.one_of(str(value), allowed[name])
        except (ValueError, ConfigError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError("\n  ".join(["nothing was started", *problems] if problems[1:] else problems))
    sign_in = dict(said.pop("sign_in", {}))
    if said.pop("insecure", False):
        sign_in["insecure"] = "true"
    image = ImageOptions(**{name: said.pop(name, None) for name in _IMAGE})
    return Layer(image=image, options=sign_in, **said)


def parse_export_again(value: object) -> bool:
    """Whether to export again what another state file shows as exported. Raises ConfigError."""
    try:
        return False if value is None else values.parse_bool(value)
    except ValueError as error:
        raise ConfigError(f"export_again: {error}") from error


def _count(minimum: int) -> Callable[[object], int]:
    return lambda value: values.at_least(values.parse_int(value), minimum)


def _seconds(value: object) -> float:
    return values.more_than(values.parse_duration(value), 0)


def _sign_in(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"is {values.kind(value)}; it must be a mapping of names to texts")
    return {str(name): str(each) for name, each in value.items()}


def _max_failures(value: object) -> MaxFailures:
    return value if isinstance(value, MaxFailures) else values.parse_max_failures(value)


def _in_use(value: object) -> InUse:
    return value if isinstance(value, InUse) else values.parse_in_use(value)


def _deliver(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"is {values.kind(value)}; it must be a sequence of destinations")
    found = [read_destination(values.parse_text(each)) for each in value]
    check_destinations(found)
    return tuple(each.text for each in found)


def _order(value: object) -> ExportOrder:
    return value if isinstance(value, ExportOrder) else values.parse_order(value)


_READERS: Mapping[str, Callable[[object], object]] = {
    "cloud": values.parse_text,
    "sign_in": _sign_in,
    "insecure": values.parse_bool,
    "sign_in_timeout_s": values.parse_duration,
    "dialect": values.parse_text,
    "requests_per_second": values.parse_number,
    "order": _order,
    "max_exports": _count(1),
    "concurrency": _count(1),
    "poll_interval_s": _seconds,
    "retries": _count(0),
    "max_failures": _max_failures,
    "max_duration_s": _seconds,
    "max_gib": _count(1),
    "in_doubt_timeout_s": values.parse_duration,
    "in_use": _in_use,
    "stop_servers": values.parse_bool,
    "hard_stop": values.parse_bool,
    "max_servers_down": _count(1),
    "stop_timeout_s": _seconds,
    "deliver": _deliver,
    "drop_source_image": values.parse_bool,
    "max_transfers": _count(1),
    "bandwidth": values.parse_bandwidth,
    "max_temporary": _count(1),
    "max_temporary_gib": _count(1),
    "name_template": values.parse_text,
    "encoding": values.parse_encoding,
    "disk_format": values.parse_text,
    "container_format": values.parse_text,
    "os_type": values.parse_text,
    "visibility": values.parse_text,
    "protected": values.parse_bool,
    "properties": properties_of,
    "tags": values.parse_tags,
    "provenance": values.parse_bool,
    "preflight": values.parse_bool,
    "wait": values.parse_bool,
}

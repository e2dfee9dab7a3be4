"""Weather as a user names it: a preset for each fault and some mixtures, or a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

from batchexport.errors import ConfigError
from batchexport.sandbox.weather import settings
from batchexport.sandbox.weather.settings import Weather

#: The struct of each fault, by its name in a file.
FAULTS: Mapping[str, type] = {
    name: get_args(hint)[0] for name, hint in get_type_hints(Weather).items() if name != "seed"
}

STORM = Weather(
    lag=settings.Lag(share=0.2, seconds=1.5),
    missing=settings.Missing(share=0.03),
    stale=settings.Stale(share=0.05, seconds=2.0),
    odd_image=settings.OddImage(),
    gateway=settings.Gateway(share=0.03),
    capped_lists=settings.CappedLists(share=0.1),
    refused_lists=settings.RefusedLists(share=0.05),
    slow_lists=settings.SlowLists(share=0.05, seconds=0.2),
    flapping_token=settings.FlappingToken(share=0.02),
    forbidden=settings.Forbidden(share=0.02),
    throttled=settings.Throttled(share=0.02),
    quota=settings.Quota(share=0.02),
    identity=settings.Identity(share=0.5, slow_s=0.3, per_second=5.0),
    long_headers=settings.LongHeaders(share=0.05),
    gzip=settings.Gzip(share=0.05),
    clocks=settings.Clocks(volume_s=40.0, image_s=-90.0, compute_s=15.0, drift_s_per_hour=30.0),
    cell=settings.Cell(share=0.3, from_s=5.0, for_s=20.0),
    stuck=settings.Stuck(share=0.02),
    late=settings.Late(share=0.05, seconds=8.0),
    vanishing=settings.Vanishing(share=0.05, seconds=3.0),
    short_image=settings.ShortImage(share=0.02),
    foreign_image=settings.ForeignImage(share=0.05),
    swapped=settings.Swapped(share=0.03),
    repeated=settings.Repeated(share=0.02),
    lost=settings.Lost(share=0.05),
    starter=settings.Starter(share=0.1),
    deleter=settings.Deleter(share=0.02),
    rival=settings.Rival(share=0.02),
    failed_snapshot=settings.FailedSnapshot(share=0.05),
    failed_volume=settings.FailedVolume(share=0.05),
    busy=settings.Busy(share=0.1),
    undeletable=settings.Undeletable(share=0.01),
)

#: Several sides of one fault, each with a name of its own.
SIDES: Mapping[str, Weather] = {
    "absurd-retry-after": Weather(
        throttled=settings.Throttled(
            waits=("1000000000", "Thu, 31 Dec 2099 23:59:59 GMT", "soon", "-1", "nan")
        )
    ),
    "status-498": Weather(throttled=settings.Throttled(status=498, header="X-Retry-After")),
    "status-497": Weather(throttled=settings.Throttled(status=497, header="")),
    "x-retry-after": Weather(throttled=settings.Throttled(header="X-Retry-After")),
    "cut-image": Weather(short_image=settings.ShortImage(keeps=0.01)),
    "jumping-clock": Weather(clocks=settings.Clocks(image_s=0.0, jump_s=-3600.0)),
    "drifting-clock": Weather(clocks=settings.Clocks(image_s=0.0, volume_s=5.0, drift_s_per_hour=600.0)),
    "records-clock": Weather(clocks=settings.Clocks(shown_in="records")),
    "identity-away": Weather(identity=settings.Identity(away_for_s=4.0, per_second=0.0)),
    "identity-slow": Weather(identity=settings.Identity(slow_s=3.0, per_second=0.0)),
    "lagging-lists": Weather(lag=settings.Lag(share=1.0, seconds=20.0, reads="lists")),
    "no-lists": Weather(refused_lists=settings.RefusedLists(services=settings.ALL)),
}

PRESETS: Mapping[str, Weather] = {
    "fair": Weather(),
    **{name.replace("_", "-"): Weather(**{name: fault()}) for name, fault in FAULTS.items()},
    **SIDES,
    "storm": STORM,
}


def read_weather(text: str) -> Weather:
    """The weather of a preset or of the file of this name. Raises ConfigError for what is neither."""
    if text in PRESETS:
        return PRESETS[text]
    path = Path(text)
    if path.suffix != ".toml" and not path.exists():
        raise ConfigError(
            f"there is no weather {text!r}, and no file of that name",
            hint=f"known: {', '.join(PRESETS)}; or give a TOML file, as docs/reference/weather.md shows",
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"weather {text}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"weather {text}: not TOML: {error}") from error
    return weather_from(document, source=text)


def weather_from(document: Mapping[str, object], *, source: str) -> Weather:
    """The weather of a TOML document: `base` names a preset to begin with. Raises ConfigError."""
    values = dict(document)
    base = values.pop("base", "fair")
    if base not in PRESETS:
        raise ConfigError(f"weather {source}: base is {base!r}; allowed: {', '.join(PRESETS)}")
    _check_keys(values, ("base", *Weather.__struct_fields__), source=source, key="")
    changes: dict[str, object] = {}
    for name, value in values.items():
        hint = FAULTS.get(name, int)
        if value is False and name in FAULTS:
            changes[name] = None
            continue
        if isinstance(value, Mapping) and (fields := getattr(hint, "__struct_fields__", ())):
            _check_keys(value, fields, source=source, key=f"{name}.")
        changes[name] = _converted({} if value is True else value, hint, source=source, name=name)
    return msgspec.structs.replace(PRESETS[str(base)], **changes)


def _check_keys(values: Mapping[str, object], known: tuple[str, ...], *, source: str, key: str) -> None:
    for name in values:
        if name not in known:
            raise ConfigError(f"weather {source}: {key}{name} is not known; allowed: {', '.join(known)}")


def _converted(value: object, hint: type, *, source: str, name: str) -> object:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        words, _, path = str(error).partition(" - at `$")
        inner = path.rstrip("`").lstrip(".").split("[")[0]
        key = f"{name}.{inner}" if inner else name
        allowed = _allowed(hint, inner)
        raise ConfigError(f"weather {source}: {key}: {words}{allowed}") from error


def _allowed(hint: type, inner: str) -> str:
    """The words that a key may hold, where they are a closed set."""
    kind = get_type_hints(hint).get(inner) if inner else None
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    if get_origin(kind) is not Literal:
        return ""
    return "; allowed: " + ", ".join(map(repr, get_args(kind)))

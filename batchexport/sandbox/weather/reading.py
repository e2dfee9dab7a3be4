"""Weather as a user names it: by a preset, or by a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

from batchexport.errors import ConfigError
from batchexport.sandbox.weather.presets import FAULTS, PRESETS
from batchexport.sandbox.weather.settings import Weather


def read_weather(text: str) -> Weather:
    """The weather of a preset or of the file of this name. Raises ConfigError for what is neither."""
    if text in PRESETS:
        return PRESETS[text]
    path = Path(text)
    if path.suffix != ".toml" and not path.exists():
        raise ConfigError(
            f"there is no weather {text!r}, and no file of that name",
            hint=f"known: {', '.join(PRESETS)}; or give a TOML file, as docs/weather.md shows",
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
        if isinstance(value, Mapping):
            _check_keys(value, hint.__struct_fields__, source=source, key=f"{name}.")  # type: ignore[attr-defined]
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

"""The job file: one TOML file that names a list, a cloud and the settings of a run.

A `Layer` is what one place (flags, job file) says about a run; what it does not say is None, so that layers
can be laid over each other.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from batchexport.config import nights
from batchexport.config.nights import Nights
from batchexport.config.notify import Notify, notify_from
from batchexport.config.reports import Reports, reports_from
from batchexport.config.settings import MaxFailures
from batchexport.errors import ConfigError
from batchexport.model import NO_OPTIONS, ImageOptions, InUse

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TABLES = ("job", "cloud", "image", "limits", "servers", *nights.TABLES, "report", "notify")

Value = TypeVar("Value")


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
    image: ImageOptions = NO_OPTIONS
    wait: bool | None = None
    preflight: bool | None = None
    cloud: str | None = None
    dialect: str | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """A job file, read and checked. Its paths stand as seen from the folder it is in."""

    list_path: Path
    state_path: Path | None  #: None = not said: named after the list
    layer: Layer
    nights: Nights = field(default_factory=Nights)
    notify: Notify | None = None  #: None = nobody
    reports: Reports | None = None  #: None = none are written


def read_job_file(path: Path, *, allowed: Mapping[str, Sequence[str]] | None = None) -> JobFile:
    """The job file at `path`; ConfigError names all of its problems at once.

    `allowed` gives the words a key may hold, for those keys that have a closed set of them.
    """
    content = _toml(path)
    problems = [f"[{name}]: unknown{_did_you_mean(name, _TABLES)}" for name in content if name not in _TABLES]
    tables = {name: _Table(name, content.get(name, {}), problems, allowed or {}) for name in _TABLES}
    list_name, state_name = tables["job"].text("list", required=True), tables["job"].text("state")
    layer = _layer(tables)
    plan = nights.nights_from(tables, said=frozenset(content), folder=path.parent)
    notify = notify_from(tables["notify"]) if "notify" in content else None
    reports = reports_from(tables["report"], folder=path.parent) if "report" in content else None
    for table in tables.values():
        table.refuse_the_rest()
    if problems or list_name is None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError("\n  ".join([f"{path}: {count}, nothing was started", *problems]))
    state_path = None if state_name is None else path.parent / state_name
    return JobFile(
        list_path=path.parent / list_name,
        state_path=state_path,
        layer=layer,
        nights=plan,
        notify=notify,
        reports=reports,
    )


def duration_s(text: str) -> float:
    """Seconds from `90`, `90s`, `1.5m`, `2h` or `1d`. Raises ValueError for anything else."""
    if (match := _DURATION.fullmatch(text.strip())) is None:
        raise ValueError(f"{text!r} is not a duration: write seconds (90) or a unit (90s, 5m, 2h, 1d)")
    return float(match[1]) * _SECONDS[match[2]]


def _layer(tables: Mapping[str, _Table]) -> Layer:
    cloud, image, limits, servers = (tables[name] for name in ("cloud", "image", "limits", "servers"))
    in_use = servers.read("in_use", _in_use)
    return Layer(
        cloud=cloud.text("name"),
        dialect=cloud.text("dialect"),
        options=_said(region_name=cloud.text("region"), project_name=cloud.text("project")),
        name_template=image.text("name_template"),
        image=ImageOptions(
            disk_format=image.text("disk_format"),
            container_format=image.text("container_format"),
            os_type=image.text("os_type"),
            visibility=image.text("visibility"),
            protected=image.flag("protected"),
        ),
        requests_per_second=limits.number("requests_per_second"),
        max_exports=limits.whole("max_exports", least=1),
        concurrency=limits.whole("concurrency", least=1),
        poll_interval_s=limits.duration("poll_interval", above=0),
        retries=limits.whole("retries", least=0),
        max_failures=limits.read("max_failures", _max_failures),
        settle_s=limits.duration("settle_time"),
        in_use=in_use,
        agreed=True if in_use is InUse.STOP else None,
        hard_stop=servers.flag("hard_stop"),
        max_down=servers.whole("max_down", least=1),
        stop_timeout_s=servers.duration("stop_timeout", above=0),
    )


class _Table:
    """One table of the file, read key by key. What is wrong is added to `problems`, and read as not said."""

    def __init__(
        self, name: str, content: object, problems: list[str], allowed: Mapping[str, Sequence[str]]
    ) -> None:
        self._name, self._problems, self._allowed = name, problems, allowed
        self._known: list[str] = []
        self._content: Mapping[str, object] = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            problems.append(f"[{name}]: is {_kind(content)}; it must be a table")

    def read(self, key: str, reader: Callable[[object], Value]) -> Value | None:
        """What `reader` makes of the key's value, or None where it is not there or not good."""
        self._known.append(key)
        if key not in self._content:
            return None
        try:
            return reader(self._content[key])
        except (ValueError, ConfigError) as error:
            self._problems.append(f"[{self._name}] {key}: {error}")
            return None

    def require(self, key: str, reader: Callable[[object], Value]) -> Value | None:
        """As `read`, for a key that must be there."""
        if key not in self._content:
            self.problem(key, "missing")
        return self.read(key, reader)

    def problem(self, key: str, words: str) -> None:
        """Add what is wrong with a key."""
        self._problems.append(f"[{self._name}] {key}: {words}")

    def text(self, key: str, *, required: bool = False) -> str | None:
        if required and key not in self._content:
            self._problems.append(f"[{self._name}] {key}: missing")
        words = self._allowed.get(key)
        return self.read(key, _text if words is None else lambda value: _one_of(_text(value), words))

    def flag(self, key: str) -> bool | None:
        return self.read(key, _flag)

    def number(self, key: str) -> float | None:
        return self.read(key, _number)

    def whole(self, key: str, *, least: int) -> int | None:
        return self.read(key, lambda value: _at_least(_whole(value), least))

    def duration(self, key: str, *, above: float | None = None) -> float | None:
        return self.read(key, lambda value: _above(_duration(value), above))

    def refuse_the_rest(self) -> None:
        """Adds a problem for each key that nobody read."""
        for key in self._content:
            if key not in self._known:
                self._problems.append(f"[{self._name}] {key}: unknown key{_did_you_mean(key, self._known)}")


def _toml(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the job file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the job file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path}: not TOML: {error}", hint="texts and durations such as 5m need quotes"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: no job file: its brackets are nested too deep") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {_kind(value)}; it must be a text in quotes")
    if not value.strip():
        raise ValueError("is empty; leave the key out instead")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {_kind(value)}; it must be true or false")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is {_kind(value)}; it must be a whole number")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is {_kind(value)}; it must be a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"is {value}; it must be 0 or more")
    return float(value)


def _duration(value: object) -> float:
    return duration_s(value) if isinstance(value, str) else _number(value)


def _max_failures(value: object) -> MaxFailures:
    return MaxFailures.parse(value if isinstance(value, str) else str(_whole(value)))


def _in_use(value: object) -> InUse:
    return InUse(_one_of(_text(value), [each.value for each in InUse]))


def _one_of(word: str, allowed: Sequence[str]) -> str:
    if word not in allowed:
        raise ValueError(f'"{word}" is not known; allowed: {", ".join(allowed)}')
    return word


def _at_least(number: int, least: int) -> int:
    if number < least:
        raise ValueError(f"is {number}; it must be {least} or more")
    return number


def _above(seconds: float, bound: float | None) -> float:
    if bound is not None and seconds <= bound:
        raise ValueError(f"is {seconds:g}; it must be more than {bound:g}")
    return seconds


def _kind(value: object) -> str:
    """What a TOML value is, in a user's words."""
    kinds = {bool: "true or false", str: "a text", int: "a whole number", float: "a number", list: "an array"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else "a date or time")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _said(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}

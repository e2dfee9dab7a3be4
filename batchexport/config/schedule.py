"""The schedule of a job file: `[window]`, `[schedule]`, and where `[job]` keeps each night."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from batchexport.config import values
from batchexport.config.retention import Retention, first_key, retention_from
from batchexport.scheduling.cron import Schedule, checked_cron, from_window
from batchexport.scheduling.window import DEFAULT_GRACE_S, EVERY_DAY, DateRange, Window

if TYPE_CHECKING:
    from batchexport.config.values import Table

TABLES = ("window", "schedule", "images")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
#: A grace of days would let one night reach into the next but one.
_MOST_GRACE_S = 86_400.0


class OnUnfinished(StrEnum):
    """What to do about an earlier night that did not finish its list."""

    RESUME = "resume"  #: finish it first, then tonight's list in the remaining time
    SKIP = "skip"  #: finish it, and leave tonight's list out
    ABANDON = "abandon"  #: leave it as it is, and begin tonight's list at once


class ScheduleConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When a job may work, when it starts, and where each run is kept."""

    state_dir: Path | None = None  #: one state file a night; None = one for all
    keep: int | None = None  #: how many of them; None = all
    retention: Retention | None = None  #: which images of each volume stay; None = all
    on_unfinished: OnUnfinished = OnUnfinished.RESUME
    window: Window | None = None  #: None = at any time
    schedule: Schedule | None = None  #: None = started by hand


def schedule_from(tables: Mapping[str, Table], *, present: frozenset[str], folder: Path) -> ScheduleConfig:
    """The schedule of the file. `present` names its tables; its paths are relative to `folder`."""
    job = tables["job"]
    window = _window(tables["window"]) if "window" in present else None
    schedule = _schedule(tables["schedule"], window, "window" in present) if "schedule" in present else None
    state_dir, keep = job.text("state_dir"), job.integer("keep", minimum=1)
    zone = schedule.zone if schedule else window.zone if window else None
    retention = _retention(tables["images"], zone, state_dir, keep)
    on_unfinished = job.read("on_unfinished", _on_unfinished)
    if state_dir is None:
        for key, value in (("keep", keep), ("on_unfinished", on_unfinished)):
            if value is not None:
                job.problem(key, "applies to one state file per run; set state_dir as well")
    elif job.read("state", str) is not None:
        job.problem("state", "conflicts with state_dir: a job has either one state file or one per run")
    return ScheduleConfig(
        state_dir=None if state_dir is None else values.path_in(folder, state_dir),
        keep=keep,
        retention=retention,
        on_unfinished=on_unfinished or OnUnfinished.RESUME,
        window=window,
        schedule=schedule or (from_window(window) if window else None),
    )


def _retention(
    table: Table, zone: ZoneInfo | None, state_dir: str | None, nights: int | None
) -> Retention | None:
    """The rules by which images of a volume stay. Only earlier nights' state files know which are ours."""
    rules = retention_from(table, zone)
    if rules is None:
        return None
    if state_dir is None:
        words = "needs one state file per run to know our images by; set [job] state_dir as well"
        table.problem(first_key(table), words)
    if nights is not None and nights <= rules.reach_days:
        table.problem(
            first_key(table),
            f"reaches {rules.reach_days} nights back; [job] keep must be more: images"
            " that no state file records are never removed",
        )
    return rules


def _window(table: Table) -> Window | None:
    hours, zone = table.require("hours", _hours), table.require("time_zone", _zone)
    days, blackout = table.read("days", _days), table.read("blackout", _blackout)
    grace_s = table.duration("grace")
    if grace_s is not None and grace_s > _MOST_GRACE_S:
        table.problem("grace", "is more than a day")
    if hours is None or zone is None:
        return None
    return Window(
        opens_min=hours[0],
        closes_min=hours[1],
        zone=zone,
        days=EVERY_DAY if days is None else days,
        blackout=blackout or (),
        grace_s=DEFAULT_GRACE_S if grace_s is None else grace_s,
    )


def _schedule(table: Table, window: Window | None, has_window: bool) -> Schedule | None:
    """The schedule; its time zone defaults to that of the window."""
    cron = table.require("cron", lambda value: checked_cron(_text(value)))
    zone = table.read("time_zone", _zone) if has_window else table.require("time_zone", _zone)
    zone = zone or (window.zone if window else None)
    return None if cron is None or zone is None else Schedule(cron=cron, zone=zone)


def _hours(value: object) -> tuple[int, int]:
    """Minutes after midnight of the opening and the close, from 22:00-06:00."""
    match = _HOURS.fullmatch(_text(value).replace(" ", ""))
    if match is None:
        raise ValueError(f'"{value}" is not a time range; write it as 22:00-06:00')
    opens_h, opens_m, closes_h, closes_m = map(int, match.groups())
    opens, closes = opens_h * 60 + opens_m, closes_h * 60 + closes_m
    if opens >= 1440 or closes > 1440 or max(opens_m, closes_m) > 59:
        raise ValueError(f'"{value}" is not a time range; write it as 22:00-06:00')
    return opens, closes % 1440


def _zone(value: object) -> ZoneInfo:
    try:
        return ZoneInfo(_text(value))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'"{value}" is not a time zone; write for example Europe/Berlin or UTC') from error


def _days(value: object) -> frozenset[int]:
    """Weekdays from "mon-fri", "fri-mon, wed" or ["mon", "tue"]; Monday is 0."""
    parts = value if isinstance(value, list) else _text(value).split(",")
    days: set[int] = set()
    for part in parts:
        first, _, last = _text(part).strip().lower().partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f'"{part}" is not a weekday; write {", ".join(_DAYS)}, or mon-fri')
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days |= {(begin + step) % 7 for step in range((end - begin) % 7 + 1)}
    if not days:
        raise ValueError("is empty; leave the key out for every day")
    return frozenset(days)


def _blackout(value: object) -> tuple[DateRange, ...]:
    if not isinstance(value, list):
        raise ValueError('must be an array of days: ["2026-12-24..2027-01-01", "2027-05-01"]')
    return tuple(map(_date_range, value))


def _date_range(value: object) -> DateRange:
    if isinstance(value, date) and not isinstance(value, datetime):
        return DateRange(first=value, last=value)
    first, dots, last = _text(value).partition("..")
    try:
        span = DateRange(
            first=date.fromisoformat(first.strip()),
            last=date.fromisoformat((last if dots else first).strip()),
        )
    except ValueError as error:
        raise ValueError(f'"{value}" is not a date; write 2026-12-24 or 2026-12-24..2027-01-01') from error
    if span.last < span.first:
        raise ValueError(f'"{value}" ends before it begins')
    return span


def _on_unfinished(value: object) -> OnUnfinished:
    if value not in list(OnUnfinished):
        raise ValueError(f'"{value}" is not known; allowed: {", ".join(OnUnfinished)}')
    return OnUnfinished(str(value))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text in quotes")
    return value

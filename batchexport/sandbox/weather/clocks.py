"""Clocks that differ: what a service shows of the time, and what it takes a time in a query to mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from aiohttp import web

from batchexport.sandbox.weather.conditions import Conditions
from batchexport.sandbox.weather.settings import Clocks

#: The fields of records, and of queries, that hold a time.
TIMES = ("created_at", "updated_at", "created", "updated", "issued_at", "expires_at")
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}")
HOUR_S = 3600.0


def ahead_s(conditions: Conditions, service: str, now: float) -> float:
    """By how much the clock of a service is ahead of the true time `now`."""
    clocks = conditions.weather.clocks
    if clocks is None:
        return 0.0
    up_s = now - conditions.began_at
    offset: float = getattr(clocks, f"{service}_s", 0.0)
    jumped = clocks.jump_s if up_s >= clocks.jump_after_s else 0.0
    return offset + jumped + clocks.drift_s_per_hour * up_s / HOUR_S


def in_header_s(conditions: Conditions, service: str, now: float) -> float:
    """The same, for the Date header."""
    return ahead_s(conditions, service, now) if _shows(conditions.weather.clocks, "header") else 0.0


def in_records_s(conditions: Conditions, service: str, now: float) -> float:
    """The same, for the times in records; whole seconds."""
    if not _shows(conditions.weather.clocks, "records"):
        return 0.0
    return float(round(ahead_s(conditions, service, now)))


def by_true_time(request: web.Request, ahead: float) -> web.Request:
    """The request with the times in its query turned from those of the service into true ones."""
    times = {name: _moved(text, -ahead) for name, text in request.query.items() if name in TIMES}
    if not times or not ahead:
        return request
    return request.clone(rel_url=request.rel_url.update_query(times))


def shifted(value: object, ahead: float) -> object:
    """A JSON value with every time of its records moved."""
    if isinstance(value, list):
        return [shifted(each, ahead) for each in value]
    if isinstance(value, Mapping):
        return {
            name: _moved(each, ahead) if name in TIMES and isinstance(each, str) else shifted(each, ahead)
            for name, each in value.items()
        }
    return value


def _shows(clocks: Clocks | None, where: str) -> bool:
    return clocks is not None and clocks.shown_in in ("both", where)


def _moved(text: str, seconds: float) -> str:
    def later(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) + timedelta(seconds=seconds)).isoformat(timespec="seconds")

    return INSTANT.sub(later, text)

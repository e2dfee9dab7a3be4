"""Times as the clouds write them, to and from seconds since the epoch (UTC)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache


# A page of images holds few different times: they are whole seconds, and those of its neighbours.
@lru_cache(maxsize=4096)
def epoch_s(text: str | None) -> float | None:
    """Seconds since the epoch of an ISO 8601 time, or None where there is none to read.

    Block storage writes UTC without saying so and with a fraction, the image service with a `Z` and without.
    """
    try:
        moment = datetime.fromisoformat(text or "")
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def iso_utc(moment_s: float) -> str:
    """A time as filters of the image service take it, rounded down: they count whole seconds."""
    return datetime.fromtimestamp(math.floor(moment_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date_s(text: str | None) -> float | None:
    """Seconds since the epoch of an HTTP date, or None where there is none to read."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):  # the latter: a number of more digits than any date has
        return None


def retry_after_s(text: str | None, *, now_s: float) -> float | None:
    """Seconds to wait by a `Retry-After` header, which holds a number of them or a date; never below 0."""
    try:
        seconds = float(text or "")
    except ValueError:
        moment_s = http_date_s(text)
        return None if moment_s is None else max(0.0, moment_s - now_s)
    return max(0.0, seconds) if math.isfinite(seconds) else None

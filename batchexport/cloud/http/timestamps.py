"""Times as the clouds write them, to and from seconds since the epoch (UTC)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache


# The images of a page share few different times: whole seconds, often the same ones.
@lru_cache(maxsize=4096)
def epoch_s(text: str | None) -> float | None:
    """Seconds since the epoch of an ISO 8601 time, or None if it cannot be read.

    Block storage writes UTC with a fraction and no zone, the image service with a `Z` and no fraction.
    """
    try:
        moment = datetime.fromisoformat(text or "")
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def iso_utc(moment_s: float) -> str:
    """A time as the filters of the image service expect it, rounded down to whole seconds."""
    return datetime.fromtimestamp(math.floor(moment_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date_s(text: str | None) -> float | None:
    """Seconds since the epoch of an HTTP date, or None if it cannot be read."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):  # OverflowError: a number with too many digits for a date
        return None


def retry_after_s(text: str | None, *, now_s: float) -> float | None:
    """Seconds to wait, at least 0, by a `Retry-After` header of seconds or a date; None = unreadable."""
    try:
        seconds = float(text or "")
    except ValueError:
        moment_s = http_date_s(text)
        return None if moment_s is None else max(0.0, moment_s - now_s)
    return max(0.0, seconds) if math.isfinite(seconds) else None

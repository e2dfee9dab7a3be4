"""Times in the state file: those that a calendar has."""

from __future__ import annotations

#: The end of the year 9999, in seconds since the epoch.
_LAST_S = 253_402_300_799.0


def moment(at: float | None) -> float | None:
    """The time as it is. Raises ValueError for one that nobody ever noted: the file is damaged."""
    if at is None or 0.0 <= at <= _LAST_S:
        return at
    raise ValueError(f"{at} is no time")

"""`[images]` in a job file: which images of earlier nights to keep, by the rules of restic's `forget`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from batchexport.config.values import Table

_DAY_S = 86_400.0
#: Days that each rule reaches back for each that it keeps: what [job] keep must cover.
_DAYS = {"keep_last": 1, "keep_daily": 1, "keep_weekly": 7, "keep_monthly": 31}


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """The images to keep of each volume: those that any of these rules keeps. None = no such rule."""

    keep_last: int | None = None  #: the newest
    keep_daily: int | None = None  #: the newest of each of the last days that have one
    keep_weekly: int | None = None  #: likewise of weeks, which begin on Monday
    keep_monthly: int | None = None
    keep_within_s: float | None = None  #: all that are not older than the newest by more than this
    zone: ZoneInfo = ZoneInfo("UTC")  #: whose days, weeks and months count

    @property
    def reach_days(self) -> int:
        """How many nights back an image may be that a rule keeps, at one night a day."""
        within = int(-(-(self.keep_within_s or 0.0) // _DAY_S))
        return max(within, *(count * days for name, days in _DAYS.items() if (count := self.get(name))), 0)

    def get(self, name: str) -> int:
        """The number of a rule that counts; 0 where there is none."""
        return int(getattr(self, name) or 0)

    def kept_by(self, made_at: Sequence[float]) -> list[str]:
        """By which rules each of these images stays; empty = none. They come newest first, in seconds since
        the epoch by the cloud's clock.
        """
        rules = [
            _buckets("keep_last", self.get("keep_last"), range(len(made_at))),
            *(
                _buckets(name, self.get(name), [bucket(self._local(at)) for at in made_at])
                for name, bucket in _BUCKETS.items()
            ),
            [self._within(made_at[0], at) for at in made_at],
        ]
        return [", ".join(filter(None, words)) for words in zip(*rules, strict=True)]

    def _local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self.zone)

    def _within(self, newest: float, at: float) -> str:
        if self.keep_within_s is None or newest - at > self.keep_within_s:
            return ""
        return f"keep_within = {self.keep_within_s / _DAY_S:g}d"


def retention_from(table: Table, zone: ZoneInfo | None) -> Retention | None:
    """The rules of `[images]`, by the days of this zone; None where the table has none: all images stay."""
    keep, keep_last = table.integer("keep", minimum=1), table.integer("keep_last", minimum=1)
    counts = {name: table.integer(name, minimum=1) for name in _DAYS if name != "keep_last"}
    within_s = table.duration("keep_within", above=0)
    if keep is not None and keep_last is not None:
        table.problem("keep", "is an alias of keep_last; give only one of them")
    last = keep_last if keep is None else keep
    if last is None and within_s is None and not any(counts.values()):
        return None
    return Retention(keep_last=last, **counts, keep_within_s=within_s, zone=zone or ZoneInfo("UTC"))


def first_key(table: Table) -> str:
    """The first rule that the table names: where a word about all of them belongs."""
    return next(name for name in ("keep", *_DAYS, "keep_within") if table.has(name))


def _buckets(name: str, most: int, keys: Sequence[object]) -> list[str]:
    """The newest of each of the first `most` different keys is kept."""
    words, seen = [], 0
    last: object = None
    for place, key in enumerate(keys):
        is_first = place == 0 or key != last
        last = key
        kept = is_first and seen < most
        seen += is_first
        words.append(f"{name} = {most}" if kept else "")
    return words


_BUCKETS: dict[str, Callable[[datetime], object]] = {
    "keep_daily": lambda at: at.date(),
    "keep_weekly": lambda at: at.isocalendar()[:2],
    "keep_monthly": lambda at: (at.year, at.month),
}

"""Names of images: the row's own, or made from the template, from what is known when the list is read."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from batchexport.dialect import EVS, LENIENT, Dialect
from batchexport.errors import ConfigError
from batchexport.lists.csv_text import unguarded
from batchexport.model import JobRow, JobRows, TargetKey
from batchexport.store import MADE

TEMPLATE_FIELDS = ("volume_id", "volume_name", "run", "date", "line")
#: Where one of these is filled in, no two rows of a target can get one name.
_TELLS_ROWS_APART = frozenset({"volume_id", "line"})
_ID_BEGINNING = 8


class UnfitNameError(ValueError):
    """A row gets no name; `name` is what would have come of it, the text says what is wrong."""

    def __init__(self, message: str, *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class Namer:
    """Gives each row its image name. Remembers names only where volumes may share one."""

    def __init__(self, template: str, dialect: Dialect | None, run_id: str) -> None:
        """Raises ConfigError for a template that cannot be filled in."""
        #: Without a dialect a volume's name becomes what every cloud takes, and other names need be no more
        #: than what some cloud does.
        self._rules = dialect or EVS
        self._allowed = dialect or LENIENT
        self._fill = partial(template.format, run=run_id, date=run_id[:8])
        fields = _fields(template)
        self._wants_volume_name = fields.count("volume_name")
        self._may_share = bool(self._wants_volume_name) and _TELLS_ROWS_APART.isdisjoint(fields)
        self._given: set[tuple[TargetKey, str]] = set()

    def name(self, row: JobRow) -> str:
        """The row's image name. Raises UnfitNameError where the template makes none that may be."""
        if row.image_name is not None:
            return self._noted(row, row.image_name)
        if not self._wants_volume_name:
            return self._valid(self._filled(row, ""))
        if row.volume_name is None:
            raise UnfitNameError("is missing, and the name template fills it in")
        name = self._with_volume_name(row, "")
        if self._is_taken(row, name):
            name = self._with_volume_name(row, f"-{row.volume_id[:_ID_BEGINNING]}")
        if self._is_taken(row, name):
            name = self._with_volume_name(row, f"-{row.volume_id}")
        return self._noted(row, self._valid(name))

    def names(self, rows: JobRows) -> Sequence[str] | None:
        """The names of these rows; None where they have to be made one by one."""
        if rows.image_names is not None:
            return None if self._may_share else rows.image_names
        if self._wants_volume_name:
            return None
        names = [
            self._fill(volume_id=volume_id, line=line)
            for line, volume_id in enumerate(rows.volume_ids, rows.first_line)
        ]
        return names if all(map(self._allowed.image_name_pattern.fullmatch, names)) else None

    def _with_volume_name(self, row: JobRow, suffix: str) -> str:
        """The template with as much of the volume's name, and all of the suffix, as there is room for."""
        room = (self._rules.max_image_name_length - len(self._filled(row, ""))) // self._wants_volume_name
        plain = cleaned(row.volume_name or "", self._rules)
        if not any(map(str.isalnum, plain)):  # nothing that a person could tell it by
            plain = row.volume_id
        return self._filled(row, plain[: max(0, room - len(suffix))].strip() + suffix)

    def _filled(self, row: JobRow, volume_name: str) -> str:
        return self._fill(volume_id=row.volume_id, volume_name=volume_name, line=row.line)

    def _valid(self, name: str) -> str:
        if self._allowed.image_name_pattern.fullmatch(name):
            return name
        raise UnfitNameError(f"made from the template; allowed: {self._allowed.image_name_rule}", name=name)

    def _is_taken(self, row: JobRow, name: str) -> bool:
        return (row.target, name) in self._given

    def _noted(self, row: JobRow, name: str) -> str:
        if self._may_share:
            self._given.add((row.target, name))
        return name


class Names(Protocol):
    """What names rows: one by one, or many together (None = not these)."""

    def name(self, row: JobRow) -> str:
        """The row's image name. Raises UnfitNameError where it gets none."""
        ...

    def names(self, rows: JobRows) -> Sequence[str] | None:
        """The names of these rows; None where they have to be made one by one."""
        ...


class MarkingNamer:
    """A namer that marks the names it makes of the template: that such a one differs is no change."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer

    def name(self, row: JobRow) -> str:
        """The row's image name, marked where the template made it."""
        name = self._namer.name(row)
        return name if row.image_name is not None else MADE + name

    def names(self, rows: JobRows) -> Sequence[str] | None:
        """As `name`, of many."""
        names = self._namer.names(rows)
        return names if names is None or rows.image_names is not None else [MADE + name for name in names]


def cleaned(volume_name: str, rules: Dialect) -> str:
    """The name with a hyphen for every run of characters that the cloud does not take in image names."""
    return rules.forbidden_in_image_names.sub("-", unguarded(volume_name)).strip()


def _fields(template: str) -> list[str]:
    """The fields of a template, as often as they stand there. Raises ConfigError for one that is none."""
    allowed = ", ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ConfigError(f"name template {template!r}: {error}; allowed: {allowed}") from error
    fields = [str(name) for _, name, _, _ in parts]
    if formatted := [name for _, name, form, conversion in parts if form or conversion]:
        raise ConfigError(
            f"name template {template!r}: {formatted[0]} takes no format of its own; allowed: {allowed}",
            hint="{date} is the day in UTC, as 20260131",
        )
    if unknown := sorted(set(fields) - set(TEMPLATE_FIELDS)):
        raise ConfigError(f"name template {template!r}: no {unknown[0]!r} to fill in; allowed: {allowed}")
    return fields

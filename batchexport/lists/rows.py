"""One row of texts, checked: the same rules for every format of list."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import msgspec

from batchexport.dialect import CONTAINER_FORMATS, LENIENT, OS_TYPES, VISIBILITIES, Dialect, disk_formats
from batchexport.lists import cells
from batchexport.lists.cells import InvalidValue
from batchexport.lists.columns import Column, PropertyColumn
from batchexport.lists.problem import Location, Problem
from batchexport.model import NO_OPTIONS, ImageOptions, InUse, JobRow, JobRows, TargetKey

Value = TypeVar("Value")
#: What the reader of a format gives, in file order; it returns the number of data rows, good and bad.
Chunks = Generator[JobRow | JobRows | Problem, None, int]

_CANONICAL_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: What such an id turns into, by its hexadecimal digits turned into zeros.
_FORM_OF_ID = b"00000000-0000-0000-0000-000000000000"
_DIGITS_TO_ZEROS = bytes.maketrans(b"123456789abcdef", b"0" * 15)

#: Different combinations of common texts that are remembered. A list has a handful; with more it is read
#: more slowly.
_REMEMBERED = 1000


class RawRow(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of a row; an empty one means that nothing is given."""

    volume_id: str
    image_name: str
    volume_name: str | None  #: None = the list does not say; what it is called is not checked
    common: tuple[str, ...]  #: the texts of the columns that the checker was made for, in that order


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    """What rows with the same texts in the common columns share."""

    target: TargetKey
    options: ImageOptions
    faults: tuple[tuple[str, str, str], ...]  #: (column, text, what is wrong with it)


class RowChecker:
    """Turns the texts of a row into a job, or into everything that is wrong with them."""

    def __init__(self, *, dialect: Dialect | None, common: Sequence[Column | PropertyColumn]) -> None:
        """`common` names the columns beside the ids and names that rows will bring, in their order."""
        self._dialect = dialect
        pattern = (dialect or LENIENT).image_name_pattern
        self._name_fits = pattern.fullmatch
        self._names_fit = re.compile(f"(?:{pattern.pattern}\n)+").fullmatch
        self._columns = tuple(common)
        self._known: dict[tuple[str, ...], _Common] = {}

    def job(
        self,
        line: int,
        volume_id: str,
        image_name: str,
        common: tuple[str, ...],
        volume_name: str | None = None,
    ) -> JobRow | None:
        """The row as a job, or None where something is wrong with it; `read` reports it.

        Takes the texts one by one: most rows of most lists need no more than this call.
        """
        shared = self._known.get(common) or self._learn(common)
        if shared.faults or (image_name and not self._name_fits(image_name)):
            return None
        if not _CANONICAL_ID.fullmatch(volume_id):
            try:
                volume_id = cells.parse_volume_id(volume_id)
            except InvalidValue:
                return None
        return JobRow(
            line=line,
            volume_id=volume_id,
            image_name=image_name or None,
            target=shared.target,
            options=shared.options,
            volume_name=volume_name,
        )

    def rows(
        self,
        first_line: int,
        volume_ids: Sequence[str],
        image_names: Sequence[str] | None,
        common: tuple[str, ...],
        volume_names: Sequence[str] | None = None,
    ) -> JobRows | None:
        """Rows one after the other, or None where any of them needs a closer look."""
        shared = self._known.get(common) or self._learn(common)
        names = image_names if image_names and any(image_names) else None
        if (
            shared.faults
            or not _all_canonical(volume_ids)
            or (names is not None and not self._all_names_fit(names))
        ):
            return None
        return JobRows(
            first_line=first_line,
            volume_ids=volume_ids,
            image_names=names,
            target=shared.target,
            options=shared.options,
            volume_names=volume_names,
        )

    def read(self, location: Location, texts: RawRow) -> Sequence[JobRow | Problem]:
        """The row as a job, or every problem it has."""
        job = self.job(location.line, texts.volume_id, texts.image_name, texts.common, texts.volume_name)
        return (job,) if job is not None else self._problems(location, texts)

    def _all_names_fit(self, names: Sequence[str]) -> bool:
        # None of the patterns takes a line end: where there are as many as names, each ends one.
        text = "\n".join([*names, ""])
        return text.count("\n") == len(names) and self._names_fit(text) is not None

    def _problems(self, location: Location, texts: RawRow) -> list[Problem]:
        faults: list[tuple[str, str, str]] = []
        volume_id = texts.volume_id.strip()
        if volume_id:
            _value(Column.VOLUME_ID, volume_id, cells.parse_volume_id, faults)
        if texts.image_name:
            _value(Column.IMAGE_NAME, texts.image_name, self._image_name, faults)
        faults += self._learn(texts.common).faults
        found = [] if volume_id else [location.problem("is missing", field=Column.VOLUME_ID)]
        return found + [location.problem(wrong, field=column, value=text) for column, text, wrong in faults]

    def _image_name(self, text: str) -> str:
        return cells.parse_image_name(text, dialect=self._dialect)

    def _learn(self, common: tuple[str, ...]) -> _Common:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        texts = {column: text.strip() for column, text in zip(self._columns, common, strict=True)}
        shared = _read_common(texts, dialect=self._dialect)
        self._known[common] = shared
        return shared


def _read_common(texts: dict[Column | PropertyColumn, str], *, dialect: Dialect | None) -> _Common:
    faults: list[tuple[str, str, str]] = []

    def read(column: Column | PropertyColumn, parse: Callable[[str], Value]) -> Value | None:
        return _value(column, texts.get(column, ""), parse, faults)

    os_type = cells.one_of(OS_TYPES)
    visibility = cells.one_of(VISIBILITIES)
    protected: Callable[[str], bool] = cells.parse_bool
    if dialect is not None and not dialect.takes_os_type:
        os_type = cells.refused_by(dialect)
    if dialect is not None and not dialect.takes_visibility:
        visibility = cells.refused_by(dialect)
        protected = cells.refused_by(dialect)
    tags: Callable[[str], tuple[str, ...]] = cells.parse_tags
    if dialect is not None and not dialect.takes_tags:
        tags = cells.refused_by(dialect)
    properties = dict(read(Column.IMAGE_PROPERTIES, cells.parse_properties) or ())
    for column in texts:
        if isinstance(column, PropertyColumn) and (found := read(column, cells.parse_property(column))):
            properties.update([found])
    options = ImageOptions(
        properties=tuple(properties.items()) or None,
        tags=read(Column.IMAGE_TAGS, tags) or None,
        disk_format=read(Column.DISK_FORMAT, cells.one_of(disk_formats(dialect))),
        container_format=read(Column.CONTAINER_FORMAT, cells.one_of(CONTAINER_FORMATS)),
        force=read(Column.FORCE, cells.parse_bool),
        in_use=read(Column.IN_USE, _in_use),
        os_type=read(Column.OS_TYPE, os_type),
        visibility=read(Column.VISIBILITY, visibility),
        protected=read(Column.PROTECTED, protected),
        priority=read(Column.PRIORITY, cells.parse_priority),
        timeout_s=read(Column.TIMEOUT, cells.parse_duration_s),
        deliver=read(Column.DELIVER, cells.parse_deliver),
    )
    target = TargetKey(
        cloud=read(Column.CLOUD, cells.parse_location),
        region=read(Column.REGION, cells.parse_location),
        project=read(Column.PROJECT, cells.parse_location),
    )
    return _Common(
        target=target, options=NO_OPTIONS if options == NO_OPTIONS else options, faults=tuple(faults)
    )


def _all_canonical(volume_ids: Sequence[str]) -> bool:
    """Whether each matches `_CANONICAL_ID`, checked ten times as fast."""
    forms = "\n".join(volume_ids).encode(errors="replace").translate(_DIGITS_TO_ZEROS)
    return forms == b"\n".join([_FORM_OF_ID] * len(volume_ids))


def _in_use(text: str) -> InUse:
    return InUse(cells.one_of([each.value for each in InUse])(text))


def _value(
    column: str, text: str, parse: Callable[[str], Value], faults: list[tuple[str, str, str]]
) -> Value | None:
    """What the text means, or None where it is empty, or is a fault, which is then noted."""
    if not text:
        return None
    try:
        return parse(text)
    except InvalidValue as error:
        faults.append((column, text, str(error)))
        return None

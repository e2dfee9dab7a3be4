"""Decoding where one odd value spoils nothing else: a record without it, a page without the record.

What is as expected is decoded in one go, at no cost; only an answer that is not is looked at piece by piece.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from batchexport.cloud.envelopes import fold

log = logging.getLogger(__name__)

T = TypeVar("T")
Decoded = TypeVar("Decoded", covariant=True)

#: So many records are named; a list of which more cannot be read is told of well enough by these.
MOST_NAMED = 20


class Decoder(Protocol[Decoded]):
    """What makes a record of an answer's body. Raises msgspec.DecodeError where there is none in it."""

    def decode(self, body: bytes, /) -> Decoded: ...


class LenientDecoder(Generic[T]):
    """Decodes JSON to `kind`, a struct, and makes do with what of it can be read.

    An optional field with an odd value counts as not told, and an entry of a list that lacks what it must
    have is passed over and named in one warning. Numbers may come as strings, as some clouds send them.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._strict = msgspec.json.Decoder(kind, strict=False)
        self._named: set[str] = set()

    def decode(self, body: bytes, /) -> T:
        """The record in `body`. Raises msgspec.DecodeError where it is no JSON, or no such record."""
        try:
            return self._strict.decode(body)
        except msgspec.ValidationError:
            document: object = msgspec.json.decode(body)
            made = self._struct(self._kind, document)
            assert isinstance(made, self._kind)
            return made

    def _struct(self, kind: type, document: object) -> object:
        if not isinstance(document, Mapping):
            raise msgspec.ValidationError(f"expected `object`, got {fold(repr(document))[:60]}")
        values: dict[str, object] = {}
        for field in fields(kind):
            if field.encode_name in document:
                self._put(values, field, document[field.encode_name])
            elif field.required:
                raise msgspec.ValidationError(f"object missing required field `{field.encode_name}`")
        return kind(**values)

    def _put(self, values: dict[str, object], field: FieldInfo, value: object) -> None:
        try:
            values[field.name] = self._value(field.type, value)
        except (msgspec.ValidationError, OverflowError):
            if field.required:
                raise

    def _value(self, kind: object, value: object) -> object:
        record = _entry_of(kind)
        if record is not None and isinstance(value, list):
            return self._entries(record, value)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind, value)
        return msgspec.convert(value, kind, strict=False)

    def _entries(self, kind: type, entries: Sequence[object]) -> list[object]:
        made = []
        for entry in entries:
            try:
                made.append(self._struct(kind, entry))
            except (msgspec.ValidationError, OverflowError) as error:
                self._name(entry, error)
        return made

    def _name(self, entry: object, error: Exception) -> None:
        named = entry.get("id") if isinstance(entry, Mapping) else None
        name = fold(named if isinstance(named, str) else repr(entry))[:80]
        if name not in self._named and len(self._named) < MOST_NAMED:
            self._named.add(name)
            log.warning(
                "an entry of a list cannot be read and is passed over: %s (%s)", name, fold(str(error))
            )


def _entry_of(kind: object) -> type | None:
    """The struct that a list or sequence of structs holds; None for every other kind."""
    if get_origin(kind) not in (list, Sequence):
        return None
    (entry,) = get_args(kind)
    return entry if isinstance(entry, type) and issubclass(entry, msgspec.Struct) else None

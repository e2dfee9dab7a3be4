"""What it costs to define, make and change a record: a frozen dataclass beside a msgspec struct.

Run as `python benchmarks/records.py`; docs/decisions/0010 shows what it prints.
"""

from __future__ import annotations

import dataclasses
import timeit
from collections.abc import Callable

import msgspec

_FIELDS = [(f"field_{number}", int) for number in range(10)]
_VALUES = {name: number for number, (name, _) in enumerate(_FIELDS)}


def as_dataclass() -> type:
    """A new class of ten fields, as frozen dataclass with slots."""
    return dataclasses.make_dataclass("Record", _FIELDS, frozen=True, slots=True, kw_only=True)


def as_struct() -> type:
    """The same as a frozen struct."""
    return msgspec.defstruct("Record", _FIELDS, frozen=True, kw_only=True)


def _us(work: Callable[[], object], times: int) -> float:
    """Microseconds for one, the best of five rounds."""
    return min(timeit.repeat(work, number=times, repeat=5)) / times * 1e6


def main() -> None:
    """Print the table."""
    dataclass, struct = as_dataclass(), as_struct()
    one, other = dataclass(**_VALUES), struct(**_VALUES)
    rows = {
        "define the class": (_us(as_dataclass, 100), _us(as_struct, 100)),
        "make one": (_us(lambda: dataclass(**_VALUES), 10_000), _us(lambda: struct(**_VALUES), 10_000)),
        "change one field": (
            _us(lambda: dataclasses.replace(one, field_3=9), 10_000),
            _us(lambda: msgspec.structs.replace(other, field_3=9), 10_000),
        ),
    }
    print(f"{'10 fields, µs':<18}{'dataclass':>10}{'struct':>10}")
    for name, (slow, fast) in rows.items():
        print(f"{name:<18}{slow:>10.2f}{fast:>10.2f}")


if __name__ == "__main__":
    main()

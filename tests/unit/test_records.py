"""Which classes are dataclasses: those that hide something, and no others (docs/decisions/0010)."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields, is_dataclass

import batchexport


def _dataclasses() -> list[type]:
    names = [each.name for each in pkgutil.walk_packages(batchexport.__path__, "batchexport.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    return [
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and is_dataclass(each) and each.__module__ == module.__name__
    ]


def test_a_dataclass_keeps_something_out_of_its_repr() -> None:
    found = {f"{each.__module__}.{each.__name__}": each for each in _dataclasses()}
    assert "batchexport.cloud.auth.tokens.Token" in found
    shown = [name for name, each in found.items() if "__repr__" in vars(each) and _shows_all(each)]
    assert shown == []


def _shows_all(record: type) -> bool:
    return all(field.repr for field in fields(record))

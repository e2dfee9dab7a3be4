"""The generated parts of the documentation match the code. To update them: python -m tools.reference."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import batchexport
from batchexport.report.advice import CODES
from tools.reference import PARTS, ROOT, filled, pages, parts_of

PACKAGE = Path(batchexport.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "sandbox" not in path.parts)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_generated_part_is_what_the_code_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == filled(text), "stale: run python -m tools.reference"


def test_every_part_that_can_be_generated_is_in_a_page() -> None:
    used = {part for page in pages() for part in parts_of(page.read_text(encoding="utf-8"))}
    assert used == set(PARTS)


def test_every_code_of_ours_is_described() -> None:
    """Constants that are passed as `code=`, by name or by position, and those that they are named by."""
    named = _constants()
    found = {code for path in SOURCES for code in _codes(path, named)}
    assert found - set(CODES) == set()
    assert len(found) > 30


def _constants() -> Any:
    named = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign):
                targets, value = node.targets[0], node.value
                pairs = (
                    zip(targets.elts, value.elts, strict=True)
                    if isinstance(targets, ast.Tuple) and isinstance(value, ast.Tuple)
                    else [(targets, value)]
                )
                for target, each in pairs:
                    if isinstance(target, ast.Name) and isinstance(each, ast.Constant):
                        named[target.id] = each.value
    return named


def _codes(path: Path, named: dict[str, str]) -> Iterator[Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    positions = {
        node.name: [argument.arg for argument in node.args.args].index("code")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "code" in [argument.arg for argument in node.args.args]
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        passed = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if (place := positions.get(name)) is not None and place < len(node.args):
            passed.append(node.args[place])
        for value in passed:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                # Codes of clouds hold a dot; `code` is a key of answers as well, and a prefix of exit codes.
                if "_" in value.value and value.value != "error_code":
                    yield value.value
            elif isinstance(value, (ast.Name, ast.Attribute)):
                constant = named.get(value.id if isinstance(value, ast.Name) else value.attr)
                if isinstance(constant, str) and "_" in constant:
                    yield constant

"""Every log record says as data what it is about: `extra` with an `action`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchexport

PACKAGE = Path(batchexport.__file__).parent
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
#: Functions whose result has an `action`: their first argument.
MAKERS = {"log_fields", "_fields"}


def log_calls(source: str) -> Iterator[tuple[ast.Call, ast.AST]]:
    """Every call of a logger, with the outermost function or class that it stands in."""
    if "log." not in source:
        return
    for place in ast.parse(source).body:
        for node in ast.walk(place):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=method)) if method in METHODS:
                    yield node, place


def targets_of(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def has_action(value: ast.AST, place: ast.AST) -> bool:
    """Whether what is handed over as `extra` has an action, for a variable wherever it is set."""
    match value:
        case ast.Dict(keys=keys):
            return any(isinstance(key, ast.Constant) and key.value == "action" for key in keys)
        case ast.Call(func=ast.Name(id=name)):
            return name in MAKERS
        case ast.BinOp(left=left, op=ast.BitOr()):
            return has_action(left, place)
        case ast.Name(id=name):
            found = [
                node.value
                for node in ast.walk(place)
                if isinstance(node, ast.Assign | ast.AnnAssign)
                and node.value is not None
                and any(isinstance(each, ast.Name) and each.id == name for each in targets_of(node))
            ]
            return bool(found) and all(has_action(each, place) for each in found)
    return False


def without_data(source: str) -> list[int]:
    """The lines of the log calls of a module that have no data."""
    found = []
    for call, place in log_calls(source):
        extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
        if extra is None or not has_action(extra, place):
            found.append(call.lineno)
    return found


@pytest.mark.parametrize(
    ("call", "is_bare"),
    [
        ('log.info("x")', True),
        ('log.info("x", extra={"volume_id": v})', True),
        ('extra = {"id": v}; log.info("x", extra=extra)', True),
        ('log.info("x", extra={"action": "sent"})', False),
        ('extra = log_fields("sent", job); log.info("x", extra=extra)', False),
        ('log.info("x", extra=_fields("sent", target) | {"rows": 1})', False),
    ],
)
def test_a_call_without_data_is_found(call: str, is_bare: bool) -> None:
    assert bool(without_data(f"def f(): {call}")) is is_bare


def test_every_log_record_has_data() -> None:
    calls = 0
    bare = []
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text("utf-8")
        calls += sum(1 for _ in log_calls(source))
        bare += [f"{path.relative_to(PACKAGE)}:{line}" for line in without_data(source)]
    assert calls > 100
    assert not bare, f"log calls without extra={{'action': ...}}: {bare}"

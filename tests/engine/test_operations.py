"""Requests that change the cloud: recorded first, fenced, sent in one place, and their outcome recorded."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import batchexport.engine
from batchexport.engine.operations import NotSentError, perform
from batchexport.errors import CloudError, LeaseLostError, TransientError
from tests.engine.conftest import Bench, volume_ids
from tests.engine.fast_time import let_pass, run_fast

CHANGES = {
    "upload_volume_to_image",
    "stop_servers",
    "start_servers",
    "delete_image",
    "create_snapshot",
    "create_volume",
    "delete_snapshot",
    "delete_volume",
    "set_labels",
}
ENGINE = Path(batchexport.engine.__file__).parent


class Noted:
    """An operation that notes what is done with it."""

    def __init__(self, *, allowed: bool = True, error: CloudError | None = None, record: bool = True) -> None:
        self._allowed, self._error, self._record = allowed, error, record
        self.notes: list[str] = []

    async def record(self) -> None:
        if not self._record:
            raise OSError("the disk is full")
        self.notes.append("recorded")

    def may_send(self) -> bool:
        self.notes.append("asked")
        return self._allowed

    async def send(self, fence: Callable[[], None]) -> str:
        fence()
        self.notes.append("sent")
        if self._error is not None:
            raise self._error
        return "image"

    async def answered(self, answer: str) -> None:
        self.notes.append(f"answered {answer}")

    async def failed(self, error: CloudError) -> None:
        self.notes.append(f"failed {error}")


def performed(bench: Bench, operation: Noted, *, after_s: float = 0.0, fresh: bool = True) -> str | None:
    """The answer to the operation, performed so long after the lease was taken."""
    bench.load(volume_ids(1))

    async def go() -> str | None:
        async with bench.open() as state:
            work = await state.take(1)
            let_pass(after_s)
            return await perform(operation, [work], fresh=fresh)

    return run_fast(go())


def test_the_intent_is_recorded_before_and_the_outcome_after_it_is_sent(bench: Bench) -> None:
    operation = Noted()
    assert performed(bench, operation) == "image"
    assert operation.notes == ["recorded", "asked", "sent", "answered image"]


def test_a_failure_is_recorded_by_the_operation(bench: Bench) -> None:
    operation = Noted(error=TransientError("busy"))
    assert performed(bench, operation) is None
    assert operation.notes == ["recorded", "asked", "sent", "failed busy"]


def test_what_cannot_be_recorded_is_not_sent(bench: Bench) -> None:
    operation = Noted(record=False)
    with pytest.raises(OSError, match="full"):
        performed(bench, operation)
    assert operation.notes == []


def test_what_the_operation_forbids_is_not_sent(bench: Bench) -> None:
    operation = Noted(allowed=False)
    with pytest.raises(NotSentError):
        performed(bench, operation)
    assert operation.notes == ["recorded", "asked"]


def test_nothing_is_sent_once_the_lease_may_be_another_s(bench: Bench) -> None:
    operation = Noted()
    with pytest.raises(NotSentError):
        performed(bench, operation, after_s=31.0)
    assert operation.notes == ["recorded"]


def test_a_last_call_only_needs_a_lease_that_is_not_known_to_be_lost(bench: Bench) -> None:
    assert performed(bench, Noted(), after_s=31.0, fresh=False) == "image"


def test_nothing_is_sent_once_the_lease_is_lost(bench: Bench) -> None:
    bench.load(volume_ids(1))
    operation = Noted()

    async def go() -> None:
        async with bench.open() as state:
            work = await state.take(1)
            await work.release()
            await perform(operation, [work], fresh=False)

    with pytest.raises(LeaseLostError):
        run_fast(go())
    assert "sent" not in operation.notes


def test_steps_alone_call_what_changes_the_cloud_and_operations_alone_make_fences() -> None:
    """Else a request could go out unrecorded, or without a lease."""
    callers: dict[str, set[str]] = {}
    fences: set[str] = set()
    for path in ENGINE.rglob("*.py"):
        name = path.relative_to(ENGINE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in CHANGES
            ):
                callers.setdefault(node.func.attr, set()).add(name)
            if isinstance(node, ast.FunctionDef) and node.name == "fence":
                fences.add(name)
    assert callers == {
        "upload_volume_to_image": {"steps/export.py"},
        "stop_servers": {"steps/stop_server.py"},
        "start_servers": {"steps/stop_server.py"},
        "delete_image": {"steps/delete_image.py", "deliver/image_writer.py"},
        "create_snapshot": {"steps/copy_requests.py"},
        "create_volume": {"steps/copy_requests.py", "deliver/create_volume.py"},
        "delete_snapshot": {"steps/copy_requests.py"},
        "delete_volume": {"steps/copy_requests.py", "deliver/create_volume.py"},
        "set_labels": {"steps/label_image.py"},
    }
    assert fences == {"operations.py"}

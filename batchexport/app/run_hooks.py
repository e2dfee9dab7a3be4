"""The user's commands before and after the work on a state file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from batchexport.app import run_in_loop
from batchexport.config.hooks import HookPolicy, Hooks
from batchexport.errors import BatchExportError, RunStoppedError
from batchexport.report.totals import Totals
from batchexport.store import StoreRef, stores

if TYPE_CHECKING:
    from batchexport.host_command import CommandResult

log = logging.getLogger(__name__)

#: As of failed rows: somebody has to look at it.
_NEEDS_ATTENTION = 3


class HookedRun(msgspec.Struct):
    """A run with its hooks. Its caller sets how it ended."""

    exit_code: int = 1
    failed_row_hooks: int = 0  #: hooks that failed after their row had ended


@contextmanager
def run_hooks(hooks: Hooks, state_path: StoreRef) -> Iterator[HookedRun]:
    """Runs `before_run`, the body, and then `after_run`, whatever became of the others.

    Afterwards the exit code is 3 instead of 0 if a hook failed and that matters. Raises RunStoppedError if
    `before_run` failed and that matters; the body is not run then.
    """
    run = HookedRun()
    try:
        if hooks.before_run is not None:
            _before(hooks, hooks.before_run, state_path)
        yield run
    except BaseException as error:
        if hooks.after_run is not None:
            code = error.exit_code if isinstance(error, BatchExportError) else 1
            _after(hooks.after_run, hooks, state_path, exit_code=code, error=str(error) or None)
        raise
    failed = run.failed_row_hooks > 0
    if hooks.after_run is not None:
        result = _after(hooks.after_run, hooks, state_path, exit_code=run.exit_code, error=None)
        failed = failed or not result.is_good
    if failed and hooks.on_failure is HookPolicy.FAIL and run.exit_code == 0:
        run.exit_code = _NEEDS_ATTENTION


def _before(hooks: Hooks, command: tuple[str, ...], state_path: StoreRef) -> None:
    result = _ran("before_run", command, hooks, state_path, {})
    if result.is_good:
        return
    if hooks.on_failure is HookPolicy.FAIL:
        raise RunStoppedError(
            f"nothing was started: before_run: {result}",
            hint='fix the command, or set on_failure = "continue" in [hooks]',
        )
    log.warning("before_run: %s", result, extra={"action": "hook_failed", "exit_code": result.exit_code})


def _after(
    command: tuple[str, ...], hooks: Hooks, state_path: StoreRef, *, exit_code: int, error: str | None
) -> CommandResult:
    result = _ran("after_run", command, hooks, state_path, {"exit_code": exit_code, "error": error})
    if not result.is_good:
        log.warning("after_run: %s", result, extra={"action": "hook_failed", "exit_code": result.exit_code})
    return result


def _ran(
    event: str, command: tuple[str, ...], hooks: Hooks, state_path: StoreRef, facts: dict[str, object]
) -> CommandResult:
    from batchexport.engine.row_hooks import PREFIX, hook_document, hook_environment
    from batchexport.host_command import HostCommand, run_command

    with stores.read(state_path) as reader:
        run, totals = reader.run, Totals.of(reader.overview().tallies)
    rows = {str(state): count for state, count in totals.rows.items()} | {"to_do": totals.to_do}
    document = {**hook_document(event, run, state_path), **facts, "rows": rows}
    environment = hook_environment(event, run, state_path) | {
        f"{PREFIX}{name.upper()}": str(value) for name, value in facts.items() if value is not None
    }
    return run_in_loop(
        run_command(
            HostCommand(arguments=command, timeout_s=hooks.timeout_s),
            environment=environment,
            document=document,
        )
    )

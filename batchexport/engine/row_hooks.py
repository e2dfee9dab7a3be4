"""The user's commands around each row: one before its request is sent, one after the attempt has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from batchexport.changes import JobChange
from batchexport.config.hooks import HookPolicy, Hooks
from batchexport.engine.ledger import log_fields
from batchexport.host_command import CommandResult, HostCommand, run_command
from batchexport.model import FINAL_STATES, Ending, Job, JobState
from batchexport.store import RunRecord, StoreRef

log = logging.getLogger(__name__)

#: Code of a row that failed because its hook did.
HOOK_FAILED = "hook_failed"
#: Variables that hooks get; no option reads one of these.
PREFIX = "BATCHEXPORT_HOOK_"


class RowHooks:
    """Runs the hooks of one target's rows, a few at once.

    Whatever was begun with `before_row` is ended with `after_row`, also in a later process and where the
    attempt came to nothing. Both may run again after a crash.
    """

    def __init__(self, hooks: Hooks, run: RunRecord, state_path: StoreRef) -> None:
        self._hooks = hooks
        self._run = run
        self._state_path = state_path
        self._slots = asyncio.Semaphore(hooks.max_parallel)
        self._begun: set[int] = set()  # job ids
        self._after: set[asyncio.Task[None]] = set()
        self.failed_after = 0  #: hooks that failed after their row had ended

    @property
    def are_wanted(self) -> bool:
        """Whether there is something to do around rows."""
        return self._hooks.of_rows

    def resumed(self, jobs: Iterable[Job]) -> None:
        """An earlier process began these and left them under way."""
        self._begun.update(job.job_id for job in jobs)

    async def before(self, job: Job) -> Ending | None:
        """Run `before_row`; why the row must not be sent, or None."""
        if not self._hooks.of_rows:
            return None
        self._begun.add(job.job_id)
        command = self._hooks.before_row
        if command is None:
            return None
        result = await self._ran("before_row", command, job, {"state": str(JobState.SUBMITTING)})
        if result.is_good:
            return None
        if self._hooks.on_failure is HookPolicy.CONTINUE:
            log.warning("volume %s: before_row: %s", job.volume_id, result, extra=_fields(job, result))
            return None
        return Ending(reason=f"before_row: {result}", code=HOOK_FAILED)

    def job_changed(self, change: JobChange) -> None:
        """Run `after_row` where an attempt ended that had begun. Returns at once."""
        if change.job.job_id not in self._begun:
            return
        if change.after not in FINAL_STATES and change.after is not JobState.PENDING:
            return
        self._begun.discard(change.job.job_id)
        if self._hooks.after_row is not None:
            task = asyncio.ensure_future(self._run_after(self._hooks.after_row, change))
            self._after.add(task)
            task.add_done_callback(self._after.discard)

    async def finish(self) -> None:
        """Wait until every `after_row` has ended."""
        while self._after:
            await asyncio.wait(self._after)

    async def _run_after(self, command: tuple[str, ...], change: JobChange) -> None:
        job, ending = change.job, change.ending
        facts = {
            "state": str(change.after),
            "image_id": job.image_id,
            "reason": None if ending is None else ending.reason,
            "code": None if ending is None else ending.code,
        }
        result = await self._ran("after_row", command, job, facts)
        if not result.is_good:
            self.failed_after += 1
            log.warning("volume %s: after_row: %s", job.volume_id, result, extra=_fields(job, result))

    async def _ran(
        self, event: str, command: tuple[str, ...], job: Job, facts: dict[str, str | None]
    ) -> CommandResult:
        row = {
            "volume_id": job.volume_id,
            "image_name": job.image_name,
            "size_gib": job.size_gib,
            "attempt": job.attempt,
            **facts,
        }
        document = {**hook_document(event, self._run, self._state_path), "row": row}
        environment = hook_environment(event, self._run, self._state_path) | {
            f"{PREFIX}{name.upper()}": str(value) for name, value in row.items() if value is not None
        }
        async with self._slots:
            return await run_command(
                HostCommand(arguments=command, timeout_s=self._hooks.timeout_s),
                environment=environment,
                document=document,
            )


def hook_document(event: str, run: RunRecord, state_path: StoreRef) -> dict[str, object]:
    """What every hook gets as JSON on stdin."""
    return {
        "event": event,
        "run_id": run.run_id,
        "list_name": run.list_name,
        "state_file": str(state_path.absolute() if isinstance(state_path, Path) else state_path),
    }


def hook_environment(event: str, run: RunRecord, state_path: StoreRef) -> dict[str, str]:
    """The same as variables."""
    document = hook_document(event, run, state_path)
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in document.items()}


def _fields(job: Job, result: CommandResult) -> dict[str, object]:
    return log_fields("hook_failed", job, exit_code=result.exit_code)

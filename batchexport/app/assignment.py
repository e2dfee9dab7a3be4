"""One target of a submitted run in the hands of a worker: taken, worked on as any run is, and given back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from batchexport import engine, nightly_runs
from batchexport.app.connections import connections
from batchexport.config.run_plan import RunPlan
from batchexport.engine import Controls
from batchexport.errors import BatchExportError
from batchexport.intake import as_stored
from batchexport.model import InUse
from batchexport.store import RunRecord, Store, StoreRef, TargetRecord, Work, stores
from batchexport.store.fleet import WORKER_LEASE_S, Standing
from batchexport.store.records import Remaining

log = logging.getLogger(__name__)


class OneTarget(Store):
    """An open store of which only one target is to be worked on: others may be other workers'."""

    path: StoreRef
    run: RunRecord
    targets: Sequence[TargetRecord]

    def __init__(self, store: Store, target_id: int) -> None:
        self._store = store
        self.path = store.path
        self.run = store.run
        self.targets = [target for target in store.targets if target.target_id == target_id]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.__aexit__(kind, error, trace)

    async def take(self, target_id: int, *, ttl_s: float = WORKER_LEASE_S, is_work: bool = True) -> Work:
        return await self._store.take(target_id, ttl_s=ttl_s, is_work=is_work)

    async def remaining(self) -> Remaining:
        return await self._store.remaining()

    async def agree(self, in_use: InUse) -> None:
        await self._store.agree(in_use)


class Assignment:
    """The work on one target, as a task. `stop` hands it back: every request gets its response first."""

    def __init__(self, run: Path, target_id: int, plan: RunPlan, standing: Standing) -> None:
        self.run = run
        self.target_id = target_id
        self.is_cancelled = standing is Standing.CANCELLED  #: first ends the rows that have not begun
        self.stop = asyncio.Event()
        self.error: BatchExportError | None = None  #: what ended it early
        self._plan = plan
        self._controls = Controls(plan.settings)
        self._controls.is_paused = standing is not Standing.RUNNING
        self._task = asyncio.create_task(self._work())

    @property
    def is_over(self) -> bool:
        """Whether it was given back, or lost."""
        return self._task.done()

    def pause(self, is_paused: bool) -> None:
        """Let nothing new begin, or let it go on."""
        if self._controls.is_paused != is_paused:
            self._controls.is_paused = is_paused
            self._controls.changed()

    async def over(self) -> None:
        """Wait until it is over. Raises only what no run raises."""
        await asyncio.shield(self._task)

    def when_over(self, call: asyncio.Event) -> None:
        """Set this event as soon as it is over."""
        self._task.add_done_callback(lambda _: call.set())

    async def _give_up_pending(self, state: Store) -> None:
        work = await state.take(self.target_id)
        try:
            await engine.give_up_pending(work)
        finally:
            await work.release()

    async def _work(self) -> None:
        extra = {"action": "target_taken", "run": self.run.name, "target_id": self.target_id}
        try:
            async with OneTarget(
                await asyncio.to_thread(stores.open_for_work, self.run), self.target_id
            ) as state:
                settings = as_stored(self._plan.settings, state.run)
                if self.is_cancelled:
                    await self._give_up_pending(state)
                log.info("working on target %d of run %s", self.target_id, self.run.name, extra=extra)
                async with connections(
                    [target.key for target in state.targets],
                    self._plan.access,
                    settings.limits,
                    state_path=self.run,
                    stop=self.stop,
                ) as connect:
                    await engine.run(
                        state,
                        connect,
                        settings,
                        stop=self.stop,
                        controls=self._controls,
                        others=() if settings.export_again else nightly_runs.other_stores(self.run),
                    )
        except BatchExportError as error:
            self.error = error
        except Exception as error:  # a worker has other targets, and its log to tell of this one
            log.debug("work on a target broke", exc_info=True, extra=extra)
            self.error = BatchExportError(f"unexpected {type(error).__name__}: {error}")

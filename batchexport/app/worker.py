"""A worker: takes targets of submitted runs, works on each as a run does, and gives it back."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from batchexport.app import embedded_sandbox
from batchexport.app.assignment import Assignment
from batchexport.config.run_plan import RunPlan, read_plan
from batchexport.errors import (
    BatchExportError,
    ConfigError,
    LeaseLostError,
    StateInUseError,
    StateVersionError,
)
from batchexport.identity import CloudIdentity, difference
from batchexport.log_level import NOTICE
from batchexport.retry import Backoff
from batchexport.store.fleet import RunTarget, Standing, SubmittedRun
from batchexport.store.owner import Owner, is_alive, this_process
from batchexport.store.postgres import fleet
from batchexport.store.postgres.reference import DatabasePath

log = logging.getLogger(__name__)

#: How often a worker looks for work and says that it is alive, whether it hears of news or not.
LOOK_EVERY_S = 5.0
#: Targets of one worker at once, each with its connection to the database.
SLOTS = 10
#: After an error a target is left alone for so long, more each time.
AFTER_ERROR = Backoff(first_s=5.0, cap_s=300.0)
_CLOUDS_EVERY_S = 30.0

Key = tuple[str, int]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A target that a worker may take."""

    run: SubmittedRun
    target: RunTarget
    plan: RunPlan

    @property
    def key(self) -> Key:
        """What it is known by among all runs."""
        return (self.run.run_name, self.target.target_id)


def choices(
    runs: Sequence[SubmittedRun], plans: dict[str, RunPlan], clouds: Sequence[str], *, here: Owner
) -> Iterator[Choice]:
    """The targets that have work, that nobody holds, and whose cloud is among these, in the order of runs.

    Of a paused run only those that cannot be left alone. A project that somebody works on for another run is
    left to that one. `here` is this process: of others on its machine it can tell that they are dead.
    """
    held = [target for run in runs for target in run.targets if _is_held(target, here)]
    for run in runs:
        plan = plans.get(run.run_name)
        if plan is None:
            continue
        for target in run.targets:
            left = target.under_way if run.standing is Standing.PAUSED else target.to_do
            is_free = left and not _is_held(target, here) and (target.key.cloud or plan.cloud) in clouds
            if is_free and not any(_is_same(target.identity, other.identity) for other in held):
                yield Choice(run=run, target=target, plan=plan)


def _is_going(run: SubmittedRun) -> bool:
    return bool(run.to_do) and run.standing in (Standing.RUNNING, Standing.CANCELLED)


def _is_held(target: RunTarget, here: Owner) -> bool:
    if target.owner is None or target.lease_left_s <= 0:
        return False
    return is_alive(target.owner, here=here) is not False


def _is_same(one: CloudIdentity | None, other: CloudIdentity | None) -> bool:
    return (
        one is not None
        and other is not None
        and one.project_id is not None
        and one.project_id == other.project_id
        and difference(one, other) is None
    )


class Worker:
    """One worker. `serve` is its life."""

    def __init__(self, database: DatabasePath, *, name: str, slots: int, stop: asyncio.Event) -> None:
        self._database = database
        self._slots = slots
        self._stop = stop
        self._member = fleet.Membership(database, worker_name=name, slots=slots)
        self._news = asyncio.Event()
        self._news_at: int | None = None  # the descriptor that is watched
        self._clouds: list[str] = []
        self._clouds_at: float | None = None
        self._held: dict[Key, Assignment] = {}
        self._not_before: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._is_away = False  # the database
        self._trouble: str | None = None  # of the last target that failed, for people

    async def serve(self, *, until_done: bool = False) -> None:
        """Work until `stop` is set, or somebody drains this worker; with `until_done` until nothing is left.

        Raises StateInUseError where a worker of this name is there, StateVersionError, ConfigError.
        """
        self._read_clouds()
        await asyncio.to_thread(self._member.join, self._clouds)
        try:
            while not self._stop.is_set():
                self._news.clear()
                runs = await self._look()
                if runs is not None:
                    await self._tend(runs)
                    if until_done and not self._held and not any(_is_going(run) for run in runs):
                        break
                await self._wait(runs or ())
        finally:
            await self._hand_over()

    async def _look(self) -> list[SubmittedRun] | None:
        """What there is to do, after what is over was put away; None = the database cannot be asked."""
        self._read_clouds()
        self._reap()
        if self._news_at is None:
            self._hear(await asyncio.to_thread(self._member.listen))
        try:
            is_draining, runs = await asyncio.to_thread(self._member.look, self._clouds, self._trouble)
        except StateVersionError:
            raise
        except BatchExportError as error:
            if not self._is_away:
                log.warning("%s; trying again", error, extra={"action": "database_away"})
            self._is_away = True
            return None
        if self._is_away:
            log.log(NOTICE, "the database answers again", extra={"action": "database_back"})
        self._is_away = False
        if is_draining:
            log.log(NOTICE, "asked to drain: handing over", extra={"action": "worker_draining"})
            self._stop.set()
        return runs

    async def _tend(self, runs: Sequence[SubmittedRun]) -> None:
        """Heed how runs stand, and take what is free."""
        plans = {run.run_name: plan for run in runs if (plan := _plan(run)) is not None}
        for run in runs:
            await self._heed(run, plans.get(run.run_name))
        now = asyncio.get_running_loop().time()
        here = this_process(now=time.time())
        found = [each for each in choices(runs, plans, self._clouds, here=here) if each.key not in self._held]
        ready = [each for each in found if self._not_before.get(each.key, 0.0) <= now]
        random.shuffle(ready)  # workers that look at the same moment want different ones
        ready.sort(key=lambda each: runs.index(each.run))
        for each in ready[: max(0, self._slots - len(self._held))]:
            if self._stop.is_set():
                return
            self._take(each)

    async def _heed(self, run: SubmittedRun, plan: RunPlan | None) -> None:
        path = self._database / run.run_name
        is_paused = run.standing is Standing.PAUSED
        is_cancelled = run.standing is Standing.CANCELLED
        for target in run.targets:
            if (assignment := self._held.get((run.run_name, target.target_id))) is not None:
                assignment.pause(is_paused or is_cancelled)
                if (is_paused and not target.under_way) or (is_cancelled and not assignment.is_cancelled):
                    assignment.stop.set()  # one that is cancelled is taken anew, as such
        if plan is None:
            return
        rows = sum(sum(target.jobs.values()) for target in run.targets)
        limit = plan.settings.limits.max_failures.limit(rows)
        if run.standing is Standing.RUNNING and limit is not None and run.failed >= limit:
            note = f"stopped after {run.failed} failed rows, the limit of --max-failures"
            await self._change(fleet.pause, path, note=note)
        elif not run.to_do:
            await self._change(fleet.end, path, note="cancelled" if is_cancelled else None)

    async def _change(self, change: object, path: Path, **values: object) -> None:
        assert callable(change)
        try:
            await asyncio.to_thread(change, path, **values)
        except BatchExportError as error:
            log.info("%s; the next look tries again", error, extra={"action": "standing_unchanged"})

    def _take(self, choice: Choice) -> None:
        path = self._database / choice.run.run_name
        assignment = Assignment(path, choice.target.target_id, choice.plan, choice.run.standing)
        assignment.when_over(self._news)
        self._held[choice.key] = assignment

    def _reap(self) -> None:
        """Put away what is over, and leave alone for a while what failed."""
        now = asyncio.get_running_loop().time()
        for key in [key for key, each in self._held.items() if each.is_over]:
            error = self._held.pop(key).error
            if error is None:
                if self._failures.pop(key, None) is not None:
                    self._trouble = None
                continue
            extra = {"action": "target_given_back", "run": key[0], "target_id": key[1]}
            if isinstance(error, (StateInUseError, LeaseLostError)):
                log.info("target %d of run %s: %s", key[1], key[0], error, extra=extra)
                self._not_before[key] = now + 1.0  # the next look knows who has it
                continue
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            wait_s = AFTER_ERROR.delay_s(failures)
            log.warning(
                "target %d of run %s: %s; left alone for %.0f s", key[1], key[0], error, wait_s, extra=extra
            )
            self._not_before[key] = now + wait_s
            self._trouble = f"run {key[0]}, target {key[1]}: {error}"

    async def _hand_over(self) -> None:
        """Give everything back, and leave."""
        self._hear(None)
        for assignment in self._held.values():
            assignment.stop.set()
        await asyncio.gather(*(each.over() for each in self._held.values()), return_exceptions=True)
        await asyncio.to_thread(self._member.leave)

    async def _wait(self, runs: Sequence[SubmittedRun]) -> None:
        """Until there may be something to do: news, a lease that ends, or the next look in any case."""
        ends = (target.lease_left_s for run in runs for target in run.targets if target.owner is not None)
        soonest = min((left for left in ends if left > 0), default=LOOK_EVERY_S)
        stopping = asyncio.create_task(self._stop.wait())
        hearing = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait(
                [stopping, hearing],
                timeout=min(LOOK_EVERY_S, soonest + 0.05),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            stopping.cancel()
            hearing.cancel()

    def _hear(self, descriptor: int | None) -> None:
        """Watch this descriptor for news, and no other."""
        loop = asyncio.get_running_loop()
        if self._news_at is not None:
            loop.remove_reader(self._news_at)
        self._news_at = descriptor
        if descriptor is not None:
            loop.add_reader(descriptor, self._heard)

    def _heard(self) -> None:
        found = self._member.has_news()
        if found is None:
            self._hear(None)
        if found:
            self._news.set()

    def _read_clouds(self) -> None:
        """Which clouds this machine can sign in to, now and again: entries come and go."""
        now = asyncio.get_running_loop().time()
        if self._clouds_at is not None and now - self._clouds_at < _CLOUDS_EVERY_S:
            return
        try:
            self._clouds = sorted(embedded_sandbox.defined_clouds())
        except ConfigError as error:
            if self._clouds_at is None:
                raise
            log.warning("%s; still with those before", error, extra={"action": "clouds_unread"})
        self._clouds_at = now


def _plan(run: SubmittedRun) -> RunPlan | None:
    try:
        return read_plan(run.plan)
    except StateVersionError as error:
        log.warning("run %s is left to others: %s", run.run_name, error, extra={"action": "plan_unread"})
        return None

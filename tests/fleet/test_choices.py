"""Which targets a worker may take: a plain choice on what the database tells."""

from __future__ import annotations

import time

from msgspec.structs import replace

from batchexport.app.worker import choices
from batchexport.config import Settings
from batchexport.config.run_plan import RunPlan
from batchexport.identity import CloudIdentity
from batchexport.model import JobState, TargetKey
from batchexport.store.fleet import RunTarget, Standing, SubmittedRun
from batchexport.store.owner import this_process

ME = this_process(now=time.time())
OTHER = replace(ME, host="node7")
DEAD = replace(ME, started=1)
PROJECT = CloudIdentity(project_id="a" * 32, region="eu-1")
PLAN = RunPlan(settings=Settings(), cloud="prod")
FREE = RunTarget(
    target_id=1,
    key=TargetKey(),
    identity=None,
    owner=None,
    lease_left_s=-1.0,
    jobs={JobState.PENDING: 3},
    resources=0,
)


def run(*targets: RunTarget, name: str = "march", standing: Standing = Standing.RUNNING) -> SubmittedRun:
    return SubmittedRun(
        run_name=name, plan="", standing=standing, note=None, failed_before=0, targets=targets
    )


def chosen(*runs: SubmittedRun, clouds: tuple[str, ...] = ("prod",)) -> list[tuple[str, int]]:
    plans = {each.run_name: PLAN for each in runs}
    return [choice.key for choice in choices(runs, plans, clouds, here=ME)]


def test_what_is_free_and_has_work_may_be_taken() -> None:
    done = replace(FREE, target_id=2, jobs={JobState.SUCCEEDED: 3, JobState.FAILED: 1})
    holds = replace(FREE, target_id=3, jobs={}, resources=1)
    assert chosen(run(FREE, done, holds)) == [("march", 1), ("march", 3)]


def test_only_what_the_own_clouds_yaml_can_sign_in_to() -> None:
    there = replace(FREE, target_id=2, key=TargetKey("dev"))
    assert chosen(run(FREE, there), clouds=("dev",)) == [("march", 2)]
    assert chosen(run(FREE, there), clouds=()) == []


def test_what_is_held_is_left_until_its_lease_is_over_or_its_process_is_seen_dead() -> None:
    held = replace(FREE, owner=OTHER, lease_left_s=3.0)
    assert chosen(run(held)) == []
    assert chosen(run(replace(held, lease_left_s=-0.1))) == [("march", 1)]
    assert chosen(run(replace(held, owner=DEAD))) == [("march", 1)]


def test_a_project_that_another_run_holds_is_left_to_that_one() -> None:
    held = run(replace(FREE, owner=OTHER, lease_left_s=3.0, identity=PROJECT))
    mine = run(replace(FREE, identity=PROJECT), name="april")
    assert chosen(held, mine) == []
    assert chosen(held, run(replace(FREE, identity=replace(PROJECT, region="eu-2")), name="april")) != []
    assert chosen(held, run(FREE, name="april")) == [("april", 1)]  # nobody knows yet


def test_of_a_paused_run_only_what_cannot_be_left_alone() -> None:
    under_way = replace(FREE, target_id=2, jobs={JobState.EXPORTING: 1})
    assert chosen(run(FREE, under_way, standing=Standing.PAUSED)) == [("march", 2)]


def test_of_a_cancelled_run_everything_that_is_left_to_end_it() -> None:
    under_way = replace(FREE, target_id=2, jobs={JobState.EXPORTING: 1})
    done = replace(FREE, target_id=3, jobs={JobState.FAILED: 1})
    assert chosen(run(FREE, under_way, done, standing=Standing.CANCELLED)) == [("march", 1), ("march", 2)]


def test_a_run_whose_plan_cannot_be_read_is_left_to_others() -> None:
    assert list(choices([run(FREE)], {}, ["prod"], here=ME)) == []

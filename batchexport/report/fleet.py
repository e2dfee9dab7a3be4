"""The workers of a database and the runs submitted to them: who holds what, and what waits for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from batchexport.config.run_plan import read_plan
from batchexport.errors import StateVersionError
from batchexport.model import JobState
from batchexport.report.listing import Listing
from batchexport.report.text import count_of, duration, iso_utc, number, one_line
from batchexport.store.fleet import RunTarget, Standing, SubmittedRun, WorkerRecord

WORKER_COLUMNS = (
    "worker",
    "host",
    "pid",
    "state",
    "targets",
    "slots",
    "last_sign_s",
    "lease_left_s",
    "version",
    "clouds",
    "holds",
    "note",
)
RUN_COLUMNS = ("run", "standing", "rows", "succeeded", "failed", "to_do", "workers", "waits_for", "note")


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What a database tells of its workers at one moment."""

    workers: Sequence[WorkerRecord]
    runs: Sequence[SubmittedRun]


def workers_listing(fleet: Fleet) -> Listing:
    """The workers as records, each with what it holds."""
    return Listing(columns=WORKER_COLUMNS, records=[_worker_record(fleet, each) for each in fleet.workers])


def workers_text(fleet: Fleet) -> str:
    """A line for each worker, and below it one for each target that it holds."""
    lines = []
    for worker in fleet.workers:
        held = list(_held_by(fleet, worker))
        lines.append(
            f"{worker.worker_name}: {_state_of(worker)}, {count_of(len(held), 'target')} of {worker.slots},"
            f" last sign {duration(worker.seen_s)} ago{_lease_words(worker.lease_left_s)},"
            f" batchexport {worker.version}"
        )
        lines += [
            f"  {run.run_name}: {target.key}, {_left_words(target)}{_lease_words(target.lease_left_s)}"
            for run, target in held
        ]
        if worker.note:
            lines.append(f"  last trouble: {one_line(worker.note, 300)}")
    lines += _other_lines(fleet)
    if not fleet.workers:
        lines.append("no worker is there; `batchexport worker` starts one")
    return "\n".join(lines)


def workers_json(fleet: Fleet) -> str:
    """The same as JSON."""
    return json.dumps([_worker_record(fleet, each) for each in fleet.workers], ensure_ascii=False, indent=2)


def runs_listing(fleet: Fleet) -> Listing:
    """The submitted runs as records."""
    return Listing(columns=RUN_COLUMNS, records=[_run_record(fleet, run) for run in fleet.runs])


def runs_text(fleet: Fleet) -> str:
    """A line for each submitted run, and below it what waits."""
    lines = []
    for run in fleet.runs:
        record = _run_record(fleet, run)
        lines.append(
            f"{run.run_name}: {run.standing}, {number(_rows(run))} rows = {_count(run, JobState.SUCCEEDED)}"
            f" succeeded + {_count(run, JobState.FAILED)} failed + {number(run.to_do)} to do + others"
        )
        if run.note:
            way_out = "; `batchexport ctl` with `continue` lets it go on"
            lines.append(f"  {one_line(run.note, 300)}{way_out if run.standing is Standing.PAUSED else ''}")
        if record["waits_for"]:
            lines.append(f"  waits for {record['waits_for']}")
        for target in run.targets:
            if target.owner is not None:
                lines.append(f"  {target.key}: {_left_words(target)}, held by {_name_of(fleet, target)}")
    if not fleet.runs:
        lines.append("no run is submitted; `batchexport submit` does that")
    alive = sum(worker.lease_left_s > 0 for worker in fleet.workers)
    lines.append(f"{count_of(alive, 'worker')} alive")
    return "\n".join(lines)


def runs_json(fleet: Fleet) -> str:
    """The same as JSON."""
    return json.dumps([_run_record(fleet, run) for run in fleet.runs], ensure_ascii=False, indent=2)


def _worker_record(fleet: Fleet, worker: WorkerRecord) -> Mapping[str, object]:
    held = list(_held_by(fleet, worker))
    return {
        "worker": worker.worker_name,
        "host": worker.host,
        "pid": worker.pid,
        "state": _state_of(worker),
        "targets": len(held),
        "slots": worker.slots,
        "last_sign_s": round(worker.seen_s, 1),
        "lease_left_s": round(max(0.0, worker.lease_left_s), 1),
        "version": worker.version,
        "clouds": list(worker.clouds),
        "holds": [f"{run.run_name}: {target.key}" for run, target in held],
        "note": worker.note,
        "began_at": iso_utc(worker.began_at),
    }


def _run_record(fleet: Fleet, run: SubmittedRun) -> dict[str, object]:
    holders = dict.fromkeys(_name_of(fleet, target) for target in run.targets if target.owner is not None)
    return {
        "run": run.run_name,
        "standing": str(run.standing),
        "rows": _rows(run),
        "succeeded": _count(run, JobState.SUCCEEDED),
        "failed": _count(run, JobState.FAILED),
        "to_do": run.to_do,
        "workers": list(holders),
        "waits_for": ", ".join(waits_for(fleet, run)),
        "note": run.note,
    }


def waits_for(fleet: Fleet, run: SubmittedRun) -> Iterator[str]:
    """Clouds that targets of the run need, and no worker that is alive can sign in to."""
    if run.standing is Standing.ENDED:
        return
    known = {cloud for worker in fleet.workers if worker.lease_left_s > 0 for cloud in worker.clouds}
    try:
        default: str | None = read_plan(run.plan).cloud
    except StateVersionError:
        yield "a worker of a newer version"
        return
    needed = dict.fromkeys(target.key.cloud or default for target in run.targets if target.to_do)
    missing = [cloud for cloud in needed if cloud not in known]
    if missing and not known:
        yield "a worker"
    elif missing:
        yield from (f"a worker whose clouds.yaml has {cloud}" for cloud in missing)


def _held_by(fleet: Fleet, worker: WorkerRecord) -> Iterator[tuple[SubmittedRun, RunTarget]]:
    for run in fleet.runs:
        for target in run.targets:
            owner = target.owner
            if owner is not None and (owner.host, owner.pid) == (worker.host, worker.pid):
                yield run, target


def _name_of(fleet: Fleet, target: RunTarget) -> str:
    owner = target.owner
    assert owner is not None
    for worker in fleet.workers:
        if (worker.host, worker.pid) == (owner.host, owner.pid):
            return worker.worker_name
    return str(owner)


def _other_lines(fleet: Fleet) -> Iterator[str]:
    """Targets that a process holds which is no worker that is known: `run`, `resume`, or one long gone."""
    known = {(worker.host, worker.pid) for worker in fleet.workers}
    for run in fleet.runs:
        for target in run.targets:
            owner = target.owner
            if owner is not None and (owner.host, owner.pid) not in known:
                yield f"{owner}: no worker; {run.run_name}: {target.key}{_lease_words(target.lease_left_s)}"


def _state_of(worker: WorkerRecord) -> str:
    if worker.lease_left_s <= 0:
        return "not heard of"
    return "draining" if worker.is_draining else "working"


def _left_words(target: RunTarget) -> str:
    words = f"{number(target.to_do)} to do"
    return f"{words}, {number(target.under_way)} of them under way" if target.under_way else words


def _lease_words(left_s: float) -> str:
    return f", lease {left_s:.0f} s left" if left_s > 0 else ", lease over"


def _rows(run: SubmittedRun) -> int:
    return sum(sum(target.jobs.values()) for target in run.targets)


def _count(run: SubmittedRun, state: JobState) -> int:
    return sum(target.jobs.get(state, 0) for target in run.targets)

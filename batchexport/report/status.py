"""Where a run stands, and what it says at its end; as text and JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import asdict

from batchexport.identity import CloudIdentity
from batchexport.model import JobState, TargetKey
from batchexport.report.actions import action_lines, actions_of
from batchexport.report.causes import top_doubts, top_reasons
from batchexport.report.deliveries import counts_json, delivery_lines
from batchexport.report.listing import Listing
from batchexport.report.resources import resource_lines, resource_records, volume_ids_of
from batchexport.report.servers import server_json
from batchexport.report.text import duration, iso_utc, number, one_line, printable
from batchexport.report.totals import ENDED, TO_DO, Totals, gib_text, rows_text, totals_json
from batchexport.shell_command import on_state_file
from batchexport.store import Holder, Reader, ReasonCount, StoreRef, Tally, count_deliveries

#: Reasons given; `report` has them all.
MAX_REASONS = 5
#: Columns of the list of targets.
COLUMNS = (
    "target",
    "cloud",
    "region",
    "project",
    "rows",
    *map(str, JobState),
    "to_do",
    "gib_exported",
    "gib_to_do",
)


def status_text(reader: Reader, state_path: StoreRef, *, now: float, pace: Sequence[str] = ()) -> str:
    """Where the run stands, in a few lines. `pace` are lines on its throughput, for a live view."""
    run, overview = reader.run, reader.overview(now=now)
    totals = Totals.of(overview.tallies)
    holders = reader.processes().holders
    is_working = any(holder.alive for holder in holders)
    lines = [
        f"{state_path}: run {printable(run.run_id)} of {printable(run.list_name)},"
        f" started {iso_utc(run.created_at)}",
        *_cloud_lines(overview.identities),
        *_holder_lines(holders),
        *resource_lines(overview, is_working=is_working),
        rows_text(totals),
    ]
    if totals.to_do:
        parts = ", ".join(f"{number(totals.rows[state])} {state}" for state in TO_DO)
        lines.append(f"to do: {parts}{stalled_note(overview.stalled)}")
    lines += [gib_text(totals), *delivery_lines(count_deliveries(reader)), *pace]
    by_target = totals_by_target(overview.tallies)
    if len(by_target) > 1:
        lines += ["", *_target_lines(by_target)]
    if reasons := top_reasons(reader, MAX_REASONS):
        lines += ["", *reason_lines(reasons)]
    return "\n".join(lines)


def status_json(reader: Reader, state_path: StoreRef, *, now: float) -> str:
    """Where the run stands, as one JSON object."""
    run, overview = reader.run, reader.overview(now=now)
    servers = overview.servers
    names = reader.volume_names(volume_ids_of(overview))
    content: dict[str, object] = {
        "state_file": str(state_path),
        "run_id": run.run_id,
        "list_name": run.list_name,
        "created_at": iso_utc(run.created_at),
        "clouds": [
            {"target": str(target), **asdict(identity)} for target, identity in overview.identities.items()
        ],
        **totals_json(Totals.of(overview.tallies)),
        "stalled": overview.stalled,
        "deliveries": counts_json(count_deliveries(reader)),
        "servers_down": [server_json(server, names) for server in servers],
        "resources": resource_records(overview, names),
        "targets": [
            {"target": str(target), **target._asdict(), **totals_json(totals)}
            for target, totals in totals_by_target(overview.tallies).items()
        ],
        "owners": [_holder_json(holder) for holder in reader.processes().holders],
        "top_reasons": [
            {"reason": each.reason, "code": each.code, "rows": each.jobs}
            for each in top_reasons(reader, MAX_REASONS)
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def targets_listing(reader: Reader) -> Listing:
    """The targets as records, with their totals."""
    records = [
        {
            "target": str(target),
            **target._asdict(),
            **totals_json(totals),
            "gib_exported": totals.gib[JobState.SUCCEEDED],
            "gib_to_do": totals.gib_to_do,
        }
        for target, totals in totals_by_target(reader.overview().tallies).items()
    ]
    return Listing(columns=COLUMNS, records=records)


def totals_by_target(tallies: Sequence[Tally]) -> dict[TargetKey, Totals]:
    """The totals of each target, in the order of the state file."""
    targets = dict.fromkeys(tally.target for tally in tallies)
    return {target: Totals.of(tally for tally in tallies if tally.target == target) for target in targets}


def reason_lines(
    reasons: list[ReasonCount], *, title: str = "most frequent reasons of failed rows:"
) -> Iterator[str]:
    """The reasons under a title, most frequent first."""
    yield title
    for each in reasons:
        code = f" ({printable(each.code)})" if each.code and each.code not in each.reason else ""
        yield f"{number(each.jobs):>9}  {one_line(each.reason, 160)}{code}"


def _cloud_lines(identities: Mapping[TargetKey, CloudIdentity]) -> Iterator[str]:
    """The clouds of the run, each once: two targets may be the same project."""
    yield from dict.fromkeys(f"on {printable(str(identity))}" for identity in identities.values())


def _holder_lines(holders: list[Holder]) -> Iterator[str]:
    words = {True: "running", False: "crashed", None: "perhaps running"}
    lines = dict.fromkeys(f"{words[holder.alive]}: {printable(str(holder.owner))}" for holder in holders)
    yield from lines or ["not running"]


def _holder_json(holder: Holder) -> dict[str, object]:
    owner = holder.owner
    return {
        "target": str(holder.target),
        "host": owner.host,
        "pid": owner.pid,
        "since": iso_utc(owner.since),
        "alive": holder.alive,
        "lease_until": iso_utc(holder.lease_until),
    }


def stalled_note(count: int) -> str:
    """A note on exports past their deadline, to follow the counts; empty if there are none."""
    return f" ({number(count)} stalled: past the deadline, still polled)" if count else ""


def _target_lines(by_target: Mapping[TargetKey, Totals]) -> Iterator[str]:
    width = max(map(len, (*(printable(target.label) for target in by_target), "target")))
    heads = [*(str(state) for state in ENDED), "to do", "GiB"]
    yield "  ".join([f"{'target':<{width}}", *(f"{head:>9}" for head in heads)]).upper()
    for target, totals in by_target.items():
        figures = [*(totals.rows[state] for state in ENDED), totals.to_do, totals.gib.total()]
        yield "  ".join(
            [f"{printable(target.label):<{width}}", *(f"{number(figure):>9}" for figure in figures)]
        )


def summary_text(
    reader: Reader, state_path: StoreRef, *, cloud: str | None, took_s: float, now: float | None = None
) -> str:
    """The end of a run in a few lines.

    `cloud` is the value of --os-cloud, for the commands to go on with; `took_s` are the seconds of this
    process; `now` is the time for which stalled exports are counted (None = now).
    """
    at = time.time() if now is None else now
    overview = reader.overview(now=at)
    totals = Totals.of(overview.tallies)
    lines = resource_lines(overview)
    lines += [rows_text(totals), f"{gib_text(totals)}, {duration(took_s)} in this run"]
    lines += delivery_lines(count_deliveries(reader))
    if totals.to_do:
        parts = ", ".join(f"{number(totals.rows[state])} {state}" for state in TO_DO)
        lines.append(f"to do: {parts}{stalled_note(overview.stalled)}")
    if reasons := top_reasons(reader, MAX_REASONS):
        lines += reason_lines(reasons)
    doubts = top_doubts(reader, MAX_REASONS)
    if doubts:
        lines += reason_lines(doubts, title="succeeded, but these images need a look:")
    lines.append(f"state file: {state_path}")
    actions = actions_of(reader, cloud=cloud, running=False, now=at)
    done = f"{on_state_file('report', state_path, cloud=None)}  (shows every volume and its image)"
    lines += [f"next: {line}" for line in action_lines(actions) or [done]]
    return "\n".join(lines)

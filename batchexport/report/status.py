"""Where a run stands: for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import asdict

from batchexport.identity import CloudIdentity
from batchexport.model import TargetKey
from batchexport.report.causes import top_reasons
from batchexport.report.servers import server_json, servers_line
from batchexport.report.totals import ENDED, TO_DO, Totals, gib_text, rows_text, totals_json
from batchexport.report.words import iso_utc, number, one_line, shown
from batchexport.store import Holder, ReasonCount, StateReader

#: Reasons beyond these are read in `report`.
MOST_REASONS = 5


def status_text(reader: StateReader, state_path: Path, *, now: float, pace: Sequence[str] = ()) -> str:
    """Where the run stands, in a few lines, with those on its pace where somebody watches it."""
    run, totals = reader.run, Totals.of(reader.tallies())
    lines = [
        f"{state_path}: run {shown(run.run_id)} of {shown(run.list_name)}, begun {iso_utc(run.created_at)}",
        *_cloud_lines(reader.identities()),
        *_holder_lines(reader.owners()),
        *filter(None, [servers_line(reader.servers())]),
        rows_text(totals),
    ]
    if totals.to_do:
        parts = ", ".join(f"{number(totals.rows[state])} {state}" for state in TO_DO)
        lines.append(f"to do: {parts}{stalled_note(reader.stalled(now))}")
    lines += [gib_text(totals), *pace]
    by_target = totals_by_target(reader)
    if len(by_target) > 1:
        lines += ["", *_target_lines(by_target)]
    if reasons := top_reasons(reader, MOST_REASONS):
        lines += ["", *reason_lines(reasons)]
    return "\n".join(lines)


def status_json(reader: StateReader, state_path: Path, *, now: float) -> str:
    """The same as one JSON object."""
    run = reader.run
    content: dict[str, object] = {
        "state_file": str(state_path),
        "run_id": run.run_id,
        "list_name": run.list_name,
        "created_at": iso_utc(run.created_at),
        "clouds": [
            {"target": str(target), **asdict(identity)} for target, identity in reader.identities().items()
        ],
        **totals_json(Totals.of(reader.tallies())),
        "stalled": reader.stalled(now),
        "servers_down": [server_json(server) for server in reader.servers()],
        "targets": [
            {"target": str(target), **target._asdict(), **totals_json(totals)}
            for target, totals in totals_by_target(reader).items()
        ],
        "owners": [_holder_json(holder) for holder in reader.owners()],
        "top_reasons": [
            {"reason": each.reason, "code": each.code, "rows": each.jobs}
            for each in top_reasons(reader, MOST_REASONS)
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def totals_by_target(reader: StateReader) -> dict[TargetKey, Totals]:
    """The totals of each target, in the order of the state file."""
    tallies = reader.tallies()
    targets = dict.fromkeys(tally.target for tally in tallies)
    return {target: Totals.of(tally for tally in tallies if tally.target == target) for target in targets}


def reason_lines(
    reasons: list[ReasonCount], *, title: str = "most frequent reasons of failed rows:"
) -> Iterator[str]:
    """Why rows failed, or what else the title says, most frequent first."""
    yield title
    for each in reasons:
        code = f" ({shown(each.code)})" if each.code and each.code not in each.reason else ""
        yield f"{number(each.jobs):>9}  {one_line(each.reason, 160)}{code}"


def _cloud_lines(identities: Mapping[TargetKey, CloudIdentity]) -> Iterator[str]:
    """Where its exports are, each once: two targets may be one project."""
    yield from dict.fromkeys(f"on {shown(str(identity))}" for identity in identities.values())


def _holder_lines(holders: list[Holder]) -> Iterator[str]:
    words = {True: "running", False: "ended without a word", None: "perhaps running"}
    lines = dict.fromkeys(f"{words[holder.alive]}: {shown(str(holder.owner))}" for holder in holders)
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
    """How many exports are past their deadline, to stand behind the counts; nothing where none is."""
    return f" ({number(count)} stalled: past the deadline, still watched)" if count else ""


def _target_lines(by_target: Mapping[TargetKey, Totals]) -> Iterator[str]:
    width = max(len(shown(str(target))) for target in (*by_target, "target"))
    heads = [*(str(state) for state in ENDED), "to do", "GiB"]
    yield "  ".join([f"{'target':<{width}}", *(f"{head:>9}" for head in heads)]).upper()
    for target, totals in by_target.items():
        figures = [*(totals.rows[state] for state in ENDED), totals.to_do, totals.gib.total()]
        yield "  ".join([f"{shown(str(target)):<{width}}", *(f"{number(figure):>9}" for figure in figures)])

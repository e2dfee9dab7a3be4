"""What `plan` found, as text, records and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from batchexport.config import Limits
from batchexport.model import Server, TargetKey
from batchexport.plan import PlanSummary, RowFindings, Severity
from batchexport.plan.deliveries import PlannedDelivery
from batchexport.plan.summary import FAST_MIB_PER_S, SLOW_MIB_PER_S, Expected, expected
from batchexport.report.listing import Listing
from batchexport.report.text import count_of, duration, name_cell, number, one_line, printable

#: Columns of the list of findings.
FINDING_COLUMNS = (
    "target",
    "line",
    "volume_id",
    "volume_name",
    "size_gib",
    "weight",
    "code",
    "words",
)
_LINE = "{:>7}  {}{:<36}  {:>6}  {:<9}  {}"
_SERVER = "{:<36}  {:<20}  {:<10}  {}"


def plan_text(summaries: Mapping[TargetKey, PlanSummary], limits: Limits) -> str:
    """The plan: a table of findings and a few sums for each target."""
    lines: list[str] = []
    for target, summary in summaries.items():
        if len(summaries) > 1:
            lines += ["", printable(target.label)] if lines else [printable(target.label)]
        lines += [*_table(summary), *_server_lines(summary), *_copy_lines(summary), *_sums(summary, limits)]
    lines += _delivery_lines(summaries)
    return "\n".join(lines)


def _deliveries(summaries: Mapping[TargetKey, PlanSummary]) -> dict[str, PlannedDelivery]:
    """What goes to each destination, of all targets together."""
    return {text: planned for summary in summaries.values() for text, planned in summary.deliveries.items()}


def _delivery_lines(summaries: Mapping[TargetKey, PlanSummary]) -> Iterator[str]:
    for text, planned in _deliveries(summaries).items():
        yield f"to {printable(text)}: {count_of(planned.rows, 'image')}, at most {number(planned.gib)} GiB"
        yield from (f"  will be refused: {printable(words)}" for words in planned.problems)
        yield from (f"  may be refused: {printable(words)}" for words in planned.notes)


def plan_json(summaries: Mapping[TargetKey, PlanSummary], limits: Limits) -> str:
    """The plan as one JSON object."""
    targets = [
        {"target": str(target), **target._asdict(), **_content(summary, limits)}
        for target, summary in summaries.items()
    ]
    every_row_can_go = not any(summary.cannot for summary in summaries.values())
    deliveries = [
        {
            "to": text,
            "images": planned.rows,
            "max_gib": planned.gib,
            "refused": planned.problems,
            "may_be_refused": planned.notes,
        }
        for text, planned in _deliveries(summaries).items()
    ]
    content = {"every_row_can_go": every_row_can_go, "targets": targets, "deliveries": deliveries}
    return json.dumps(content, ensure_ascii=False, indent=2)


def plan_listing(summaries: Mapping[TargetKey, PlanSummary]) -> Listing:
    """The findings as records."""
    records = [
        {"target": str(target), **finding}
        for target, summary in summaries.items()
        for row in _in_order(summary)
        for finding in _findings(row)
    ]
    return Listing(columns=FINDING_COLUMNS, records=records)


def _table(summary: PlanSummary) -> Iterator[str]:
    if not summary.kept:
        return
    named = any(row.volume_name for row in summary.kept)
    yield _LINE.format("LINE", name_cell("NAME", named), "VOLUME", "GIB", "ROW", "FINDING")
    for row in _in_order(summary):
        size = "" if row.size_gib is None else row.size_gib
        for finding in row.findings:
            name, words = (
                name_cell(row.volume_name, named),
                printable(_with_server_names(finding.words, summary)),
            )
            yield _LINE.format(row.line, name, row.volume_id, size, finding.severity, words)
    if summary.not_kept:
        yield f"… and {count_of(summary.not_kept, 'row')} more with findings"
    yield ""


def _in_order(summary: PlanSummary) -> list[RowFindings]:
    return sorted(summary.kept, key=lambda row: row.line)


def _server_lines(summary: PlanSummary) -> Iterator[str]:
    if not summary.volumes_by_server:
        return
    yield _SERVER.format("SERVER", "NAME", "STATUS", "VOLUMES")
    for server_id, volume_ids in sorted(summary.volumes_by_server.items()):
        name, status = _name_and_status(summary.servers.get(server_id))
        yield _SERVER.format(
            server_id, one_line(name, 20), one_line(status, 10), _named_volumes(volume_ids, summary)
        )
    running = sum(server.status == "active" for server in summary.servers.values())
    yield f"{count_of(running, 'running server')} would be stopped and restarted"
    yield ""


def _copy_lines(summary: PlanSummary) -> Iterator[str]:
    """What copies of volumes in use take, and whether the quotas leave room for them."""
    if (outlook := summary.copy_outlook()) is None:
        return
    made = f"{count_of(outlook.volumes, 'temporary volume')} of {number(outlook.gib)} GiB"
    if outlook.snapshots:
        made = f"{count_of(outlook.snapshots, 'snapshot')} and {made}"
    at_once = f"{number(outlook.at_once)} at once, for up to {number(outlook.gib_at_once)} GiB of quota"
    yield f"{made} would be made and deleted, {at_once}"
    if summary.storage_quota is None:
        yield "the cloud does not tell its quotas for volumes and snapshots"
    if outlook.no_room:
        short = ", ".join(outlook.short_of)
        yield f"the quotas have no room for the copies of {count_of(outlook.no_room, 'volume')}: {short}"
    elif outlook.room is not None and outlook.room < outlook.at_once:
        short = ", ".join(outlook.short_of)
        yield f"the quotas have room for {number(outlook.room)} of the largest at once: {short}"
    elif summary.storage_quota is not None:
        yield "the quotas have room for them"
    yield ""


def _named_volumes(volume_ids: Sequence[str], summary: PlanSummary) -> str:
    names = summary.volume_names
    return ", ".join(
        f"{names[each]} ({each})" if each in names else each for each in map(printable, volume_ids)
    )


def _with_server_names(words: str, summary: PlanSummary) -> str:
    """The words of a finding, with the name of each known server before its id."""
    for server_id, server in summary.servers.items():
        if server.name and server.name not in words:
            words = words.replace(server_id, f"{server.name} ({server_id})")
    return words


def _name_and_status(server: Server | None) -> tuple[str | None, str]:
    if server is None:
        return "", "not listed"
    return server.name, server.status if server.exists else "not found"


def _sums(summary: PlanSummary, limits: Limits) -> Iterator[str]:
    by_severity = summary.by_severity
    parts = [f"{number(summary.to_export)} to export"]
    notes = [
        (by_severity[Severity.NEEDS_STOP], "once servers are stopped"),
        (by_severity[Severity.NEEDS_COPY], "by a copy"),
        (by_severity[Severity.WARNING], "may fail"),
    ]
    if said := ", ".join(f"{number(rows)} {words}" for rows, words in notes if rows):
        parts[0] += f" ({said})"
    if refused := by_severity[Severity.BLOCKED] + summary.presumed_missing:
        parts.append(f"{number(refused)} cannot go")
    if left_out := by_severity[Severity.EXCLUDED]:
        parts.append(f"{number(left_out)} left out")
    yield f"{count_of(summary.all_rows, 'row')}: {', '.join(parts)}"
    if summary.presumed_missing:
        yield (
            f"{count_of(summary.presumed_missing, 'row')} of these: the volume is in no list of the project; "
            "none of those read one by one exists"
        )
    if summary.unseen:
        yield (
            f"{count_of(summary.unseen, 'row')} not checked: the volume is in no list of the project, like "
            "others that could be read by id"
        )
    yield from _image_lines(summary)
    yield _size_line(summary, limits)


def _image_lines(summary: PlanSummary) -> Iterator[str]:
    if (quota := summary.quota) is not None:
        used = f"{number(quota.used)} of {number(quota.allowed)} used"
        yield f"images: {used}, {number(quota.left)} may be made"
        if summary.over_quota:
            yield f"the quota is too small for {count_of(summary.over_quota, 'row')}"
    else:
        yield f"images: {number(summary.images)} in the project; the cloud does not report its quota"


def _size_line(summary: PlanSummary, limits: Limits) -> str:
    span = _expected(summary, limits)
    known = "" if summary.sized == summary.to_export else f" in {count_of(summary.sized, 'row')}"
    return (
        f"{number(summary.gib)} GiB{known}, the largest volume {number(summary.max_gib)} GiB; about "
        f"{_about(span.fast_s)} to {_about(span.slow_s)}, if {limits.max_exports} exports at once do "
        f"{FAST_MIB_PER_S} to {SLOW_MIB_PER_S} MiB/s each"
    )


def _about(seconds: float) -> str:
    """A duration to the minute: an estimate has no seconds."""
    return duration(60 * max(1, round(seconds / 60)))


def _expected(summary: PlanSummary, limits: Limits) -> Expected:
    return expected(
        rows=summary.to_export,
        gib=summary.gib,
        max_gib=summary.max_gib,
        max_exports=limits.max_exports,
        requests_per_second=limits.requests_per_second,
    )


def _content(summary: PlanSummary, limits: Limits) -> dict[str, object]:
    span, quota = _expected(summary, limits), summary.quota
    return {
        "rows": summary.all_rows,
        "to_export": summary.to_export,
        "cannot_go": summary.cannot,
        "left_out": summary.by_severity[Severity.EXCLUDED],
        "may_fail": summary.by_severity[Severity.WARNING],
        "stops_servers": summary.by_severity[Severity.NEEDS_STOP],
        "not_looked_at": summary.unseen,
        "presumed_missing": summary.presumed_missing,
        "over_quota": summary.over_quota,
        "gib": summary.gib,
        "rows_of_known_size": summary.sized,
        "max_gib": summary.max_gib,
        "servers": [_server(summary, server_id) for server_id in sorted(summary.volumes_by_server)],
        "copies": _copies(summary),
        "images": summary.images,
        "image_quota": None if quota is None else {"allowed": quota.allowed, "used": quota.used},
        "expected_s": {"fast": round(span.fast_s), "slow": round(span.slow_s)},
        "findings": [finding for row in _in_order(summary) for finding in _findings(row)],
        "rows_with_findings_left_out": summary.not_kept,
    }


def _copies(summary: PlanSummary) -> dict[str, object] | None:
    """What copies of volumes in use take; None = there are none. Of quotas, -1 is unlimited."""
    if (outlook := summary.copy_outlook()) is None:
        return None
    quotas = {} if summary.storage_quota is None else summary.storage_quota.quotas
    return {
        "snapshots": outlook.snapshots,
        "temporary_volumes": outlook.volumes,
        "gib": outlook.gib,
        "at_once": outlook.at_once,
        "quota_gib_at_once": outlook.gib_at_once,
        "room_at_once": outlook.room,
        "without_room": outlook.no_room,
        "short_of": list(outlook.short_of),
        "quotas": {name: {"allowed": each.allowed, "used": each.used} for name, each in quotas.items()},
    }


def _server(summary: PlanSummary, server_id: str) -> dict[str, object]:
    server = summary.servers.get(server_id)
    return {
        "server_id": server_id,
        "name": None if server is None else server.name,
        "status": None if server is None or not server.exists else server.status,
        "volume_ids": summary.volumes_by_server[server_id],
        "volume_names": [summary.volume_names.get(each) for each in summary.volumes_by_server[server_id]],
    }


def _findings(row: RowFindings) -> Iterator[dict[str, object]]:
    for finding in row.findings:
        yield {
            "line": row.line,
            "volume_id": row.volume_id,
            "volume_name": row.volume_name,
            "size_gib": row.size_gib,
            "weight": str(finding.severity),
            "code": finding.code,
            "words": finding.words,
        }

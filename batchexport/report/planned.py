"""A plan for people and as JSON: the rows that something speaks against, and what the run comes to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from batchexport.config import Limits
from batchexport.model import Server, TargetKey
from batchexport.plan import Outlook, RowFindings, Weight
from batchexport.plan.duration import FAST_MIB_PER_S, SLOW_MIB_PER_S, Expected, expected
from batchexport.report.words import count_of, duration, number, one_line

_LINE = "{:>7}  {:<36}  {:>6}  {:<9}  {}"
_SERVER = "{:<36}  {:<20}  {:<10}  {}"


def plan_text(outlooks: Mapping[TargetKey, Outlook], limits: Limits) -> str:
    """The plan as a table of findings and a few sums for each target."""
    lines: list[str] = []
    for target, outlook in outlooks.items():
        if len(outlooks) > 1:
            lines += ["", f"target {target}"] if lines else [f"target {target}"]
        lines += [*_table(outlook), *_server_lines(outlook), *_sums(outlook, limits)]
    return "\n".join(lines)


def plan_json(outlooks: Mapping[TargetKey, Outlook], limits: Limits) -> str:
    """The same as one JSON object."""
    targets = [
        {"target": str(target), **target._asdict(), **_content(outlook, limits)}
        for target, outlook in outlooks.items()
    ]
    every_row_can_go = not any(outlook.cannot for outlook in outlooks.values())
    content = {"every_row_can_go": every_row_can_go, "targets": targets}
    return json.dumps(content, ensure_ascii=False, indent=2)


def _table(outlook: Outlook) -> Iterator[str]:
    if not outlook.kept:
        return
    yield _LINE.format("LINE", "VOLUME", "GIB", "ROW", "FINDING")
    for row in _in_order(outlook):
        size = "" if row.size_gib is None else row.size_gib
        for finding in row.findings:
            words = one_line(finding.words, 200)
            yield _LINE.format(row.line, row.volume_id, size, finding.weight, words)
    if outlook.not_kept:
        yield f"… and {count_of(outlook.not_kept, 'row')} more with findings"
    yield ""


def _in_order(outlook: Outlook) -> list[RowFindings]:
    return sorted(outlook.kept, key=lambda row: row.line)


def _server_lines(outlook: Outlook) -> Iterator[str]:
    if not outlook.volumes_by_server:
        return
    yield _SERVER.format("SERVER", "NAME", "STATUS", "VOLUMES")
    for server_id, volume_ids in sorted(outlook.volumes_by_server.items()):
        name, status = _name_and_status(outlook.servers.get(server_id))
        yield _SERVER.format(server_id, one_line(name, 20), one_line(status, 10), " ".join(volume_ids))
    running = sum(server.status == "active" for server in outlook.servers.values())
    yield f"{count_of(running, 'running server')} would be stopped, and started again"
    yield ""


def _name_and_status(server: Server | None) -> tuple[str | None, str]:
    if server is None:
        return "", "not shown"
    return server.name, server.status if server.exists else "not there"


def _sums(outlook: Outlook, limits: Limits) -> Iterator[str]:
    weights = outlook.by_weight
    parts = [f"{number(outlook.to_export)} to export"]
    notes = [(weights[Weight.STOPS], "once servers are down"), (weights[Weight.MAY_FAIL], "may fail")]
    if said := ", ".join(f"{number(rows)} {words}" for rows, words in notes if rows):
        parts[0] += f" ({said})"
    if refused := weights[Weight.CANNOT] + outlook.presumed_missing:
        parts.append(f"{number(refused)} cannot go")
    if left_out := weights[Weight.LEFT_OUT]:
        parts.append(f"{number(left_out)} left out")
    yield f"{count_of(outlook.all_rows, 'row')}: {', '.join(parts)}"
    if outlook.presumed_missing:
        yield (
            f"{count_of(outlook.presumed_missing, 'row')} of these: the volume is in no list of the project; "
            "none was there of those that were read one by one"
        )
    if outlook.unseen:
        yield (
            f"{count_of(outlook.unseen, 'row')} not looked at: the volume is in no list of the project, as "
            "others that could be read by themselves"
        )
    yield from _image_lines(outlook)
    yield _size_line(outlook, limits)


def _image_lines(outlook: Outlook) -> Iterator[str]:
    if (quota := outlook.quota) is not None:
        used = f"{number(quota.used)} of {number(quota.allowed)} used"
        yield f"images: {used}, {number(quota.left)} may be made"
        if outlook.over_quota:
            yield f"the quota is too small for {count_of(outlook.over_quota, 'row')}"
    else:
        yield f"images: {number(outlook.images)} in the project; the cloud does not tell how many it may have"


def _size_line(outlook: Outlook, limits: Limits) -> str:
    span = _expected(outlook, limits)
    known = "" if outlook.sized == outlook.to_export else f" in {count_of(outlook.sized, 'row')}"
    return (
        f"{number(outlook.gib)} GiB{known}, the largest volume {number(outlook.largest_gib)} GiB; about "
        f"{_about(span.fast_s)} to {_about(span.slow_s)}, if {limits.max_exports} exports at once do "
        f"{FAST_MIB_PER_S} to {SLOW_MIB_PER_S} MiB/s each"
    )


def _about(seconds: float) -> str:
    """A span without the seconds that nobody can foresee."""
    return duration(60 * max(1, round(seconds / 60)))


def _expected(outlook: Outlook, limits: Limits) -> Expected:
    return expected(
        rows=outlook.to_export,
        gib=outlook.gib,
        largest_gib=outlook.largest_gib,
        max_exports=limits.max_exports,
        requests_per_second=limits.requests_per_second,
    )


def _content(outlook: Outlook, limits: Limits) -> dict[str, object]:
    span, quota = _expected(outlook, limits), outlook.quota
    return {
        "rows": outlook.all_rows,
        "to_export": outlook.to_export,
        "cannot_go": outlook.cannot,
        "left_out": outlook.by_weight[Weight.LEFT_OUT],
        "may_fail": outlook.by_weight[Weight.MAY_FAIL],
        "stops_servers": outlook.by_weight[Weight.STOPS],
        "not_looked_at": outlook.unseen,
        "presumed_missing": outlook.presumed_missing,
        "over_quota": outlook.over_quota,
        "gib": outlook.gib,
        "rows_of_known_size": outlook.sized,
        "largest_gib": outlook.largest_gib,
        "servers": [_server(outlook, server_id) for server_id in sorted(outlook.volumes_by_server)],
        "images": outlook.images,
        "image_quota": None if quota is None else {"allowed": quota.allowed, "used": quota.used},
        "expected_s": {"fast": round(span.fast_s), "slow": round(span.slow_s)},
        "findings": [finding for row in _in_order(outlook) for finding in _findings(row)],
        "rows_with_findings_left_out": outlook.not_kept,
    }


def _server(outlook: Outlook, server_id: str) -> dict[str, object]:
    server = outlook.servers.get(server_id)
    return {
        "server_id": server_id,
        "name": None if server is None else server.name,
        "status": None if server is None or not server.exists else server.status,
        "volume_ids": outlook.volumes_by_server[server_id],
    }


def _findings(row: RowFindings) -> Iterator[dict[str, object]]:
    for finding in row.findings:
        yield {
            "line": row.line,
            "volume_id": row.volume_id,
            "size_gib": row.size_gib,
            "weight": str(finding.weight),
            "code": finding.code,
            "words": finding.words,
        }

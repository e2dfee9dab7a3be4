"""Servers that were stopped for exports: which are down now, and every downtime; as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from batchexport.model import ResourceState, ServerState
from batchexport.report.listing import Listing
from batchexport.report.text import (
    count_of,
    duration,
    iso_utc,
    number,
    one_line,
    padded,
    printable,
    truncate_middle,
)
from batchexport.store import Downtime, ResourceReport

#: Servers named in a line; the command `servers` lists all.
MAX_NAMED = 5
NO_NAMES: Mapping[str, str] = {}
#: Columns of the list of servers.
COLUMNS = (
    "target",
    "server_id",
    "name",
    "state",
    "stopping_at",
    "down_at",
    "note",
    "volume_ids",
    "volume_names",
)
_LINE = "{:<36}  {:<20}  {:<9}  {:<20}  {}"


#: What people call the states of a server.
_STATES = {
    ResourceState.ACQUIRING: ServerState.STOPPING,
    ResourceState.HELD: ServerState.STOPPED,
    ResourceState.RELEASING: ServerState.STARTING,
}


def servers_line(servers: Sequence[ResourceReport]) -> str:
    """How many servers are still stopped, and which; empty if none is."""
    if not servers:
        return ""
    named = ", ".join(_name(server) for server in servers[:MAX_NAMED])
    more = f" and {len(servers) - MAX_NAMED} more" if len(servers) > MAX_NAMED else ""
    is_or_are = "is" if len(servers) == 1 else "are"
    return f"{count_of(len(servers), 'server')} stopped for exports {is_or_are} still down: {named}{more}"


def servers_text(servers: Sequence[ResourceReport], names: Mapping[str, str] | None = None) -> str:
    """Every server that is still stopped, with its volumes (by `names`) and what is wrong with it."""
    if not servers:
        return "no server is stopped"
    lines = [_LINE.format("SERVER", "NAME", "STATE", "SINCE", "VOLUMES")]
    for server in servers:
        since, volumes = iso_utc(server.acquiring_at), _volumes(server, names or {})
        name = padded(truncate_middle(server.name, 20), 20)
        lines.append(_LINE.format(server.resource_id, name, _STATES[server.state], since, volumes).rstrip())
        if server.note:
            lines.append(f"    {one_line(server.note, 200)}")
    return "\n".join([*lines, "", servers_line(servers)])


def servers_json(servers: Sequence[ResourceReport], names: Mapping[str, str] = NO_NAMES) -> str:
    """The servers as one JSON object."""
    return json.dumps(
        {"servers": [server_json(each, names) for each in servers]}, ensure_ascii=False, indent=2
    )


def servers_listing(servers: Sequence[ResourceReport], names: Mapping[str, str] = NO_NAMES) -> Listing:
    """The servers as records."""
    return Listing(columns=COLUMNS, records=[server_json(each, names) for each in servers])


def server_json(server: ResourceReport, names: Mapping[str, str] = NO_NAMES) -> dict[str, object]:
    """One server for JSON, its volumes by id, and by name where `names` has one."""
    return {
        "target": str(server.target),
        "server_id": server.resource_id,
        "name": server.name,
        "state": str(_STATES[server.state]),
        "stopping_at": iso_utc(server.acquiring_at) or None,
        "down_at": iso_utc(server.held_at) or None,
        "note": server.note,
        "volume_ids": list(server.volume_ids),
        "volume_names": [names.get(volume_id) for volume_id in server.volume_ids],
    }


def _volumes(server: ResourceReport, names: Mapping[str, str]) -> str:
    return ", ".join(printable(names.get(volume_id) or volume_id) for volume_id in server.volume_ids)


def _name(server: ResourceReport) -> str:
    return one_line(server.name or server.resource_id, 60)


#: Volumes named for each downtime; JSON has them all.
MAX_VOLUMES = 5


def downtime_lines(downtimes: Sequence[Downtime], names: Mapping[str, str], *, now: float) -> list[str]:
    """A heading and a line for each downtime; empty if no server was stopped."""
    if not downtimes:
        return []
    head = f"servers stopped for exports ({count_of(len(downtimes), 'time')}, UTC):"
    return [head, *(f"  {downtime_text(each, names, now=now)}" for each in downtimes)]


def downtime_text(
    each: Downtime, names: Mapping[str, str], *, now: float, clock: Callable[[float | None], str] = iso_utc
) -> str:
    """One downtime in words; `clock` formats a time."""
    return (
        f"{server_text(each)}: {span_text(each, now=now, clock=clock)},"
        f" for {volumes_text(each.volume_ids, names)}"
    )


def server_text(each: Downtime) -> str:
    """The server's name and id."""
    return f"{printable(each.name)} ({printable(each.server_id)})" if each.name else printable(each.server_id)


def span_text(each: Downtime, *, now: float, clock: Callable[[float | None], str] = iso_utc) -> str:
    """From when to when the server was down, and for how long."""
    begin = each.stopping_at if each.stopping_at is not None else each.down_at
    took = "" if begin is None else f" ({duration((each.up_at or now) - begin)})"
    if not each.is_over:
        return f"{each.state} since {clock(begin)}{took}"
    never = ", never seen down" if each.down_at is None else ""
    lost = ", lost since" if each.state is ServerState.LOST else ""
    return f"{clock(begin)} to {clock(each.up_at)}{took}{never}{lost}"


def volumes_text(volume_ids: Sequence[str], names: Mapping[str, str]) -> str:
    """The names of the first volumes, and how many more there are."""
    named = [printable(names.get(volume_id) or volume_id) for volume_id in volume_ids[:MAX_VOLUMES]]
    more = len(volume_ids) - len(named)
    text = ", ".join(named) + (f" and {number(more)} more" if more else "")
    return text or "no volume"


def downtime_json(each: Downtime, names: Mapping[str, str]) -> dict[str, object]:
    """One downtime for JSON."""
    begin = each.stopping_at if each.stopping_at is not None else each.down_at
    return {
        "target": str(each.target),
        "server_id": each.server_id,
        "name": each.name,
        "state": str(each.state),
        "stopping_at": iso_utc(each.stopping_at) or None,
        "down_at": iso_utc(each.down_at) or None,
        "up_at": iso_utc(each.up_at) or None,
        "seconds": None if begin is None or each.up_at is None else round(each.up_at - begin, 3),
        "volumes": [{"volume_id": each_id, "volume_name": names.get(each_id)} for each_id in each.volume_ids],
    }


def downtimes_by_volume(downtimes: Sequence[Downtime], *, now: float) -> dict[str, str]:
    """For each volume the downtimes of its servers, in words."""
    found: dict[str, list[str]] = {}
    for each in downtimes:
        for volume_id in each.volume_ids:
            found.setdefault(volume_id, []).append(f"{server_text(each)}: {span_text(each, now=now)}")
    return {volume_id: "; ".join(texts) for volume_id, texts in found.items()}


def volumes_of(downtimes: Sequence[Downtime]) -> list[str]:
    """All volumes that servers were stopped for, each once."""
    return list(dict.fromkeys(volume_id for each in downtimes for volume_id in each.volume_ids))

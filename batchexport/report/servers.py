"""Servers that were stopped and are not up again: in a line, as a table, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from batchexport.report.words import count_of, cut_middle, iso_utc, one_line, padded, shown
from batchexport.store import ServerReport

#: Servers that are named in a line; `servers` names all.
MOST_NAMED = 5
_LINE = "{:<36}  {:<20}  {:<9}  {:<20}  {}"


def servers_line(servers: Sequence[ServerReport]) -> str:
    """How many servers are not up, and which; empty where all are."""
    if not servers:
        return ""
    named = ", ".join(_name(server) for server in servers[:MOST_NAMED])
    more = f" and {len(servers) - MOST_NAMED} more" if len(servers) > MOST_NAMED else ""
    is_or_are = "is" if len(servers) == 1 else "are"
    return f"{count_of(len(servers), 'server')} stopped for exports {is_or_are} not up: {named}{more}"


def servers_text(servers: Sequence[ServerReport], names: Mapping[str, str] | None = None) -> str:
    """Every server that is not up, with its volumes, by their `names`, and what is wrong with it."""
    if not servers:
        return "no server is stopped"
    lines = [_LINE.format("SERVER", "NAME", "STATE", "SINCE", "VOLUMES")]
    for server in servers:
        since, volumes = iso_utc(server.stopping_at), _volumes(server, names or {})
        name = padded(cut_middle(server.name, 20), 20)
        lines.append(_LINE.format(server.server_id, name, server.state, since, volumes).rstrip())
        if server.note:
            lines.append(f"    {one_line(server.note, 200)}")
    return "\n".join([*lines, "", servers_line(servers)])


def servers_json(servers: Sequence[ServerReport]) -> str:
    """The same as one JSON object."""
    return json.dumps({"servers": [server_json(each) for each in servers]}, ensure_ascii=False, indent=2)


def server_json(server: ServerReport) -> dict[str, object]:
    """One server as JSON has it."""
    return {
        "target": str(server.target),
        "server_id": server.server_id,
        "name": server.name,
        "state": str(server.state),
        "stopping_at": iso_utc(server.stopping_at) or None,
        "down_at": iso_utc(server.down_at) or None,
        "note": server.note,
        "volume_ids": list(server.volume_ids),
    }


def _volumes(server: ServerReport, names: Mapping[str, str]) -> str:
    return ", ".join(shown(names.get(volume_id) or volume_id) for volume_id in server.volume_ids)


def _name(server: ServerReport) -> str:
    return one_line(server.name or server.server_id, 60)

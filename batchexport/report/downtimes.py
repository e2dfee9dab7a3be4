"""When which server was down for which volumes, in lines and as JSON; names come before ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from batchexport.report.words import count_of, duration, iso_utc, number, shown
from batchexport.store import Downtime

#: Volumes that are named for each time; all are in the JSON.
MOST_VOLUMES = 5


def downtime_lines(downtimes: Sequence[Downtime], names: Mapping[str, str], *, now: float) -> list[str]:
    """A head and a line for each time that a server was stopped; empty where none was."""
    if not downtimes:
        return []
    head = f"servers stopped for exports ({count_of(len(downtimes), 'time')}, UTC):"
    return [head, *(f"  {downtime_text(each, names, now=now)}" for each in downtimes)]


def downtime_text(
    each: Downtime, names: Mapping[str, str], *, now: float, clock: Callable[[float | None], str] = iso_utc
) -> str:
    """One time in words; `clock` puts an instant into words."""
    return (
        f"{server_text(each)}: {span_text(each, now=now, clock=clock)},"
        f" for {volumes_text(each.volume_ids, names)}"
    )


def server_text(each: Downtime) -> str:
    """The server, by name and id."""
    return f"{shown(each.name)} ({shown(each.server_id)})" if each.name else shown(each.server_id)


def span_text(each: Downtime, *, now: float, clock: Callable[[float | None], str] = iso_utc) -> str:
    """From when to when it was down, and for how long."""
    begin = each.stopping_at if each.stopping_at is not None else each.down_at
    took = "" if begin is None else f" ({duration((each.up_at or now) - begin)})"
    if not each.is_over:
        return f"{each.state} since {clock(begin)}{took}"
    never = ", never seen down" if each.down_at is None else ""
    gone = ", gone since" if each.state.value == "gone" else ""
    return f"{clock(begin)} to {clock(each.up_at)}{took}{never}{gone}"


def volumes_text(volume_ids: Sequence[str], names: Mapping[str, str]) -> str:
    """The first volumes by name, and how many more there are."""
    named = [shown(names.get(volume_id) or volume_id) for volume_id in volume_ids[:MOST_VOLUMES]]
    more = len(volume_ids) - len(named)
    text = ", ".join(named) + (f" and {number(more)} more" if more else "")
    return text or "no volume"


def downtime_json(each: Downtime, names: Mapping[str, str]) -> dict[str, object]:
    """One time as JSON has it."""
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


def volumes_of(downtimes: Sequence[Downtime]) -> list[str]:
    """All volumes that servers were stopped for, each once."""
    return list(dict.fromkeys(volume_id for each in downtimes for volume_id in each.volume_ids))

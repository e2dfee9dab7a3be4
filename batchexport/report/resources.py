"""What a run holds and has not released: stopped servers, snapshots, temporary volumes; as text and JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from batchexport.model import ResourceType
from batchexport.report.listing import Listing
from batchexport.report.servers import MAX_NAMED, NO_NAMES, servers_line
from batchexport.report.text import count_of, iso_utc, one_line, padded, printable, truncate_middle
from batchexport.store import Overview, ResourceReport

#: Columns of the list of resources.
COLUMNS = (
    "target",
    "kind",
    "resource_id",
    "name",
    "state",
    "since",
    "size_gib",
    "note",
    "volume_ids",
    "volume_names",
)
_LINE = "{:<16}  {:<36}  {:<24}  {:<9}  {:<20}  {}"


def copies_lines(copies: Sequence[ResourceReport], *, is_working: bool) -> list[str]:
    """What is to be said of snapshots and temporary volumes that are there; a run at work deletes its own."""
    kept = [each for each in copies if each.is_stuck or not is_working]
    return list(
        filter(None, (copies_line(kept), _in_use_line([each for each in copies if each not in kept])))
    )


def _in_use_line(copies: Sequence[ResourceReport]) -> str:
    kinds = Counter(map(kind_text, copies))
    counts = " and ".join(count_of(number, kind) for kind, number in sorted(kinds.items()))
    return counts and f"{counts} at the moment: the run deletes what it no longer needs"


def copies_line(copies: Sequence[ResourceReport]) -> str:
    """How many snapshots and temporary volumes are not released, and which; empty if none is."""
    if not copies:
        return ""
    kinds = Counter(map(kind_text, copies))
    counts = " and ".join(count_of(number, kind) for kind, number in sorted(kinds.items()))
    named = ", ".join(map(_name, copies[:MAX_NAMED]))
    more = f" and {len(copies) - MAX_NAMED} more" if len(copies) > MAX_NAMED else ""
    return f"{counts} of ours {'is' if len(copies) == 1 else 'are'} not deleted: {named}{more}"


def resource_lines(overview: Overview, *, is_working: bool = False) -> list[str]:
    """Lines on servers and on copies, without those that have nothing to tell."""
    servers = servers_line(overview.servers)
    return [*filter(None, [servers]), *copies_lines(overview.copies, is_working=is_working)]


def resources_text(overview: Overview, names: Mapping[str, str] = NO_NAMES) -> str:
    """Every resource that is not released, with its volumes (by `names`) and what is wrong with it."""
    records = resource_records(overview, names)
    if not records:
        return "nothing is held"
    lines = [_LINE.format("KIND", "ID", "NAME", "STATE", "SINCE", "VOLUMES")]
    for each in records:
        name, volumes = padded(truncate_middle(str(each["name"] or ""), 24), 24), _volumes(each)
        values = (each["kind"], each["resource_id"] or "", name, each["state"], each["since"] or "", volumes)
        lines.append(_LINE.format(*values).rstrip())
        if each["note"]:
            lines.append(f"    {one_line(str(each['note']), 200)}")
    return "\n".join([*lines, "", *resource_lines(overview)])


def resources_json(overview: Overview, names: Mapping[str, str] = NO_NAMES) -> str:
    """The resources as one JSON object."""
    return json.dumps({"resources": resource_records(overview, names)}, ensure_ascii=False, indent=2)


def resources_listing(overview: Overview, names: Mapping[str, str] = NO_NAMES) -> Listing:
    """The resources as records."""
    return Listing(columns=COLUMNS, records=resource_records(overview, names))


def volume_ids_of(overview: Overview) -> set[str]:
    """The volumes of the rows that anything is held for."""
    return {volume_id for each in overview.resources for volume_id in each.volume_ids}


def unreleased_by_volume(overview: Overview) -> dict[str, str]:
    """For each volume what is held for it and not released, in words."""
    found: dict[str, list[str]] = {}
    for each in overview.resources:
        text = f"{kind_text(each)} {_name(each)} ({each.state})"
        for volume_id in each.volume_ids:
            found.setdefault(volume_id, []).append(text)
    return {volume_id: "; ".join(texts) for volume_id, texts in found.items()}


def resource_records(overview: Overview, names: Mapping[str, str] = NO_NAMES) -> list[dict[str, object]]:
    """Everything that is held and not released, with its volumes by id and by `names`."""
    return [
        {
            "target": str(each.target),
            "kind": kind_text(each),
            "resource_id": cloud_id_of(each),
            "name": _cloud_name(each),
            "state": str(each.state),
            "since": iso_utc(each.acquiring_at) or None,
            "size_gib": each.size_gib,
            "note": each.note,
            "volume_ids": list(each.volume_ids),
            "volume_names": [names.get(volume_id) for volume_id in each.volume_ids],
        }
        for each in overview.resources
    ]


def kind_text(resource: ResourceReport) -> str:
    """What people call it."""
    return "temporary volume" if resource.kind == ResourceType.VOLUME else resource.kind


def cloud_id_of(resource: ResourceReport) -> str | None:
    """Its id in the cloud; None = not known: it was requested, and may not have been made."""
    return resource.resource_id if resource.kind == ResourceType.SERVER else resource.cloud_id


def _cloud_name(resource: ResourceReport) -> str | None:
    """Its name in the cloud; what we make is called by the id that we chose."""
    return resource.name if resource.kind == ResourceType.SERVER else resource.name or resource.resource_id


def _name(resource: ResourceReport) -> str:
    return one_line(_cloud_name(resource) or resource.resource_id, 60)


def _volumes(record: Mapping[str, object]) -> str:
    ids, names = record["volume_ids"], record["volume_names"]
    assert isinstance(ids, list) and isinstance(names, list)
    return ", ".join(printable(name or volume_id) for volume_id, name in zip(ids, names, strict=True))

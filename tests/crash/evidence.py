"""What the laws of evidence forbid, found in the journal of the cloud and in the report of a list.

Under weather a row may end without an image, but not without a reason; and nothing that was good may be lost.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from batchexport.sandbox import SandboxServer
from batchexport.sandbox.world import Deletion, Event, Export, World
from tests.crash.copies import Copies

OURS = "client"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was accepted in the cloud, by kind."""

    exports: Mapping[str, Sequence[Export]]  #: by volume, whoever asked for them
    deletions: Mapping[str, Sequence[Deletion]]  #: by image
    off: frozenset[str]  #: servers that ran once and do not in the end
    copies: Copies = field(default_factory=lambda: Copies.of(()))

    @classmethod
    def of(cls, events: Sequence[Event], servers: Sequence[SandboxServer] = ()) -> Evidence:
        """What the events tell."""
        exports: dict[str, list[Export]] = defaultdict(list)
        deletions: dict[str, list[Deletion]] = defaultdict(list)
        world = World(servers=servers)
        copies = Copies.of(events)
        for event in events:
            world.apply(event)
            if isinstance(event, Export):
                exports[copies.source_of(event.volume_id)].append(event)
            elif isinstance(event, Deletion):
                deletions[event.image_id].append(event)
        views = world.servers.servers(math.inf)
        off = frozenset(view.server.server_id for view in views if view.status != view.server.status)
        return cls(exports, deletions, off, copies)

    def ours(self, volume_id: str) -> list[Export]:
        """The exports of a volume that our client asked for."""
        return [export for export in self.exports.get(volume_id, ()) if export.made_by == OURS]

    def deleted_at(self, image_id: str) -> float:
        """When the image was deleted; inf = never."""
        return min((deletion.deleted_at for deletion in self.deletions.get(image_id, ())), default=math.inf)

    def is_good(self, export: Export) -> bool:
        """Whether the image became whole, and nobody deleted it before."""
        return (
            not export.fails and export.bytes_share == 1 and self.deleted_at(export.image_id) > export.ends_at
        )

    def doubles(self, volume_id: str) -> int:
        """Pairs of exports of ours where the later one began while the image of the earlier lived, whole."""
        pairs = combinations(self.ours(volume_id), 2)
        return sum(
            self.is_good(earlier) and later.accepted_at < self.deleted_at(earlier.image_id)
            for earlier, later in pairs
        )

    def destroyed(self) -> list[str]:
        """Images that were good until our client deleted them."""
        by_id = {export.image_id: export for exports in self.exports.values() for export in exports}
        return [
            image_id
            for image_id, deletions in self.deletions.items()
            for deletion in deletions
            if deletion.made_by == OURS and image_id in by_id and self.is_good(by_id[image_id])
        ]


@dataclass(slots=True)
class Verdict:
    """What is wrong with a list, by the law that it breaks."""

    doubles: int = 0
    lost_rows: int = 0
    servers_off: int = 0
    destroyed: int = 0
    left_behind: int = 0  #: snapshots and temporary volumes that nobody is told of
    named: int = 0  #: rows without an image that say why: nothing wrong
    words: list[str] = field(default_factory=list)


def verdict(report: Any, volume_ids: Sequence[str], evidence: Evidence) -> Verdict:
    """How a list that was worked through stands before the laws; `report` is its report as JSON."""
    found = Verdict()
    rows = {row["volume_id"]: row for row in report["jobs"]}
    for volume_id in volume_ids:
        if doubles := evidence.doubles(volume_id):
            found.doubles += doubles
            ids = [export.image_id for export in evidence.ours(volume_id)]
            found.words.append(f"volume {volume_id} was exported again: {ids}; {rows.get(volume_id)}")
        words = list(_lost(rows.get(volume_id), evidence, evidence.exports.get(volume_id, ())))
        found.lost_rows += bool(words)
        found.words += [f"volume {volume_id} {text}: {rows.get(volume_id)}" for text in words]
        found.named += not words and rows[volume_id]["state"] != "succeeded"
    named = {server["server_id"] for server in report["servers_down"]}
    off = sorted(evidence.off - named)
    found.servers_off = len(off)
    found.words += [f"server {server_id} was left off and is not named" for server_id in off]
    resources = {each["resource_id"] for each in report.get("resources", ())}
    left = list(evidence.copies.violations(resources))
    found.left_behind = len(left)
    found.words += left
    found.destroyed = len(destroyed := evidence.destroyed())
    found.words += [f"image {image_id} was good and was deleted" for image_id in destroyed]
    return found


def _lost(row: Any, evidence: Evidence, exports: Sequence[Export]) -> Iterator[str]:
    """What is not told of a row; nothing where it has its image or a reason."""
    if row is None:
        yield "is in no row"
    elif row["state"] != "succeeded":
        if row["state"] not in ("failed", "skipped", "ambiguous") and not row["stalled"]:
            yield f"is {row['state']} at the end"
        elif not (row["reason"] or row["stalled"]):
            yield f"is {row['state']} without a reason"
    else:
        of_row = [export for export in exports if export.image_id == row["image_id"]]
        if not of_row:
            yield f"is told to be in image {row['image_id']}, which is of another"
        elif not evidence.is_good(of_row[0]) and not row["reason"]:
            yield f"is told to be in image {row['image_id']}, which is not whole"

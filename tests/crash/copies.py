"""What became of the snapshots and temporary volumes of a run, found in the journal of the cloud."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from batchexport.sandbox.servers import Power
from batchexport.sandbox.storage import Creation, Removal, Storage
from batchexport.sandbox.world import Event

OURS = "client"


@dataclass(frozen=True, slots=True)
class Copies:
    """Every snapshot and volume that was ever made, and every request to delete one."""

    made: Mapping[str, Creation]  #: by id
    removals: Sequence[Removal]
    left: Sequence[Creation]  #: those that our client made and that are there in the end

    @classmethod
    def of(cls, events: Sequence[Event]) -> Copies:
        """What the events tell."""
        storage = Storage()
        for event in events:
            if isinstance(event, Creation | Removal):
                storage.apply(event)
        made = {event.item_id: event for event in events if isinstance(event, Creation)}
        left = [
            each
            for each in made.values()
            if each.made_by == OURS and storage.item(each.item_id, math.inf) is not None
        ]
        return cls(made, [event for event in events if isinstance(event, Removal)], left)

    def source_of(self, volume_id: str) -> str:
        """The volume that this one is a copy of, by way of a snapshot or not; itself where it is none."""
        creation = self.made.get(volume_id)
        while creation is not None:
            volume_id = creation.snapshot_id or creation.volume_id or ""
            creation = self.made.get(volume_id)
        return volume_id

    def violations(self, named: Collection[str]) -> Iterator[str]:
        """What was left behind and is not `named`, and what was deleted that was not ours."""
        for each in self.left:
            if each.item_id not in named:
                yield f"{each.kind} {each.item_id} ({each.name}) was left behind"
        for removal in self.removals:
            creation = self.made.get(removal.item_id)
            if creation is None or creation.made_by != OURS:
                yield f"{removal.item_id} was deleted, and is not ours"


def servers_stopped(events: Sequence[Event]) -> list[str]:
    """Each order to a server: none is to be touched where volumes in use are copied."""
    return [
        f"server {event.server_id} was told to {event.action}"
        for event in events
        if isinstance(event, Power) and event.made_by == OURS
    ]

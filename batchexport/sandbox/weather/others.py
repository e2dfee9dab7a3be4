"""Other users of the same cloud: they export, start, delete and publish without regard for us."""

from __future__ import annotations

import uuid

from msgspec.structs import replace

from batchexport.sandbox.outcome import NEVER
from batchexport.sandbox.servers import Power
from batchexport.sandbox.weather.conditions import Conditions
from batchexport.sandbox.world import Deletion, Event, Export

OTHER_PROJECT = uuid.uuid5(uuid.NAMESPACE_URL, "another project").hex
SOMEBODY = "somebody"
#: What a foreign image takes to be finished, and a server to come up, in seconds.
FOREIGN_S = 1.0
START_S = 0.2


def after_export(conditions: Conditions, export: Export, number: int) -> list[Event]:
    """What others do because of an accepted export, the `number`-th of its volume."""
    weather, events = conditions.weather, list[Event]()
    _count_fate(conditions, export)
    what = (export.volume_id, number)
    if conditions.strikes("foreign_image", weather.foreign_image, *what):
        events.append(_foreign(export))
    deleter = weather.deleter
    if deleter is not None and not export.fails and conditions.strikes("deleter", deleter, *what):
        deleted_at = export.ends_at + deleter.after_s
        events.append(Deletion(image_id=export.image_id, deleted_at=deleted_at, made_by=SOMEBODY))
    return events


def _count_fate(conditions: Conditions, export: Export) -> None:
    """Count the faults that were drawn when the export was accepted."""
    struck = {
        "stuck": export.free_at >= NEVER,
        "late": export.finishing_at is not None,
        "vanishing": export.hidden_from is not None,
        "short_image": export.bytes_share < 1,
    }
    for name in (name for name, has_struck in struck.items() if has_struck):
        conditions.count(name)


def after_power(conditions: Conditions, power: Power) -> list[Event]:
    """What others do because a server was told to stop."""
    starter = conditions.weather.starter
    if starter is None or power.action != "stop" or power.failure is not None:
        return []
    if not conditions.strikes("starter", starter, power.server_id, int(power.accepted_at)):
        return []
    at = power.done_at + starter.after_s
    return [
        Power(
            server_id=power.server_id, action="start", accepted_at=at, done_at=at + START_S, made_by=SOMEBODY
        )
    ]


def _foreign(export: Export) -> Export:
    """An image of the same name that another project publishes."""
    at = export.accepted_at
    return replace(
        export,
        volume_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"foreign/{export.image_id}")),
        image_id=str(uuid.uuid4()),
        visibility="public",
        owner=OTHER_PROJECT,
        size_gib=5,
        saving_at=at,
        ends_at=at + FOREIGN_S,
        free_at=at + FOREIGN_S,
        fails=False,
        finishing_at=None,
        hidden_from=None,
        bytes_share=1.0,
        properties={},
        made_by=SOMEBODY,
    )

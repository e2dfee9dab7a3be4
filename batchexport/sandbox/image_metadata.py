"""The image metadata of a volume, and what Cinder makes of it in an export.

It goes on the image as properties, from the image's first moment. An `id` even becomes the id of the image:
Cinder hands it to Glance, which refuses one that was ever taken. Undocumented; a real Cinder does it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from aiohttp import web

from batchexport.sandbox.item_requests import read_metadata
from batchexport.sandbox.requests import one_action
from batchexport.sandbox.responses import Refusal, json_reply
from batchexport.sandbox.settings import Profile
from batchexport.sandbox.state import STATE
from batchexport.sandbox.storage import Change
from batchexport.sandbox.volume_creation import found_volume

SET, SHOW, UNSET = "os-set_image_metadata", "os-show_image_metadata", "os-unset_image_metadata"
ACTIONS = (SET, SHOW, UNSET)
#: Properties of an image itself: Cinder leaves these out, and Glance takes none of those from a client.
LEFT_OUT = frozenset({"checksum", "container_format", "disk_format", "image_name", "image_id", "min_disk"})
LEFT_OUT |= {"min_ram", "name", "size", "id"}
REFUSED = frozenset({"visibility", "owner", "status", "locations", "tags", "stores"})


async def act(request: web.Request) -> web.Response | None:
    """The answer to an action on the image metadata; None = it is another action."""
    try:
        name, options = one_action(await request.read())
    except Refusal:
        return None
    state, volume_id = request.app[STATE], request.match_info["volume_id"]
    if name not in ACTIONS or state.settings.profile is Profile.EVS:
        return None
    metadata = dict(found_volume(state, volume_id, state.now()).item.image_metadata)
    fields = options if isinstance(options, dict) else {}
    if name == SHOW:
        return json_reply({"metadata": metadata})
    if name == SET:
        metadata |= read_metadata(fields)
    elif metadata.pop(str(fields.get("key")), None) is None:
        raise Refusal(404, "Metadata does not exist.")
    state.record(Change(item_id=volume_id, changed_at=state.now(), image_metadata=metadata))
    return json_reply({"metadata": metadata}) if name == SET else web.Response(status=200)


def image_id_from(metadata: Mapping[str, str], *, is_taken: bool) -> str:
    """The id of the image that is made of a volume with this image metadata. Refuses one that cannot be."""
    if forbidden := sorted(REFUSED & metadata.keys()):
        raise Refusal(400, f"HTTP 403 Forbidden: Attribute '{forbidden[0]}' is read-only.")
    chosen = metadata.get("id")
    if chosen is None:
        return str(uuid.uuid4())
    try:
        uuid.UUID(chosen)
    except ValueError:
        raise Refusal(400, f"HTTP 400 Bad Request: Invalid image id format: {chosen}") from None
    if is_taken:
        raise Refusal(400, f"HTTP 409 Conflict: Image ID {chosen} already exists!")
    return chosen


def properties_from(metadata: Mapping[str, str]) -> dict[str, str]:
    """What the image has of it."""
    return {
        name: text
        for name, text in metadata.items()
        if name not in LEFT_OUT and not name.startswith("os_glance_")
    }

"""Volumes and their messages as block storage writes them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from batchexport.sandbox.responses import cinder_time
from batchexport.sandbox.settings import PROJECT_ID, USER_ID
from batchexport.sandbox.world import Export, VolumeView

#: Every volume was made in the first second of 2024: it has no history before its exports.
CREATED_AT = 1704067200.0
AVAILABILITY_ZONE = "sandbox-az-1"
VOLUME_TYPE: Mapping[str, object] = {
    "id": "2b7c1f6e-93d0-4e0a-8c55-4a1f0d6b7e21",
    "name": "SSD",
    "description": "None",
    "is_public": True,
    "extra_specs": {"volume_backend_name": "sandbox", "availability-zone": AVAILABILITY_ZONE},
    "qos_specs_id": None,
    "created_at": cinder_time(CREATED_AT),
    "updated_at": cinder_time(CREATED_AT),
    "deleted_at": None,
    "deleted": False,
}
MESSAGE_LIFE_S = 30 * 86400.0
FAILURE = "copy volume to image:Failed to upload volume to image at backend."


def short_record(view: VolumeView, url: str) -> dict[str, object]:
    """A volume of the short list. `url` is that of the API with its version, such as `…/volume/v3`."""
    volume = view.volume
    return {"id": volume.volume_id, "name": volume.name, "links": _links(url, "volumes", volume.volume_id)}


def full_record(view: VolumeView, url: str) -> dict[str, object]:
    """A volume with everything that is known of it."""
    volume, creation = view.volume, view.item.creation
    return {
        **short_record(view, url),
        "status": view.status,
        "size": volume.size_gib,
        "availability_zone": AVAILABILITY_ZONE,
        "created_at": cinder_time(CREATED_AT if creation is None else creation.accepted_at),
        "updated_at": cinder_time(view.updated_at),
        "description": view.item.description,
        "volume_type": VOLUME_TYPE["name"],
        "snapshot_id": None if creation is None else creation.snapshot_id,
        "source_volid": None if creation is None else creation.volume_id,
        "metadata": view.item.metadata,
        "user_id": USER_ID,
        "bootable": "false",
        "encrypted": False,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": len(view.server_ids) > 1,
        "attachments": _attachments(view),
        "os-vol-tenant-attr:tenant_id": PROJECT_ID,
        **({"volume_image_metadata": view.item.image_metadata} if view.item.image_metadata else {}),
    }


def accepted_record(before: VolumeView, export: Export, *, evs: bool) -> dict[str, object]:
    """The answer to an accepted export of the volume. EVS names neither visibility nor protection."""
    record: dict[str, object] = {
        "id": export.volume_id,
        "updated_at": cinder_time(before.updated_at),
        "status": "uploading",
        "display_description": "" if evs else None,
        "size": export.size_gib,
        "volume_type": VOLUME_TYPE,
        "image_id": export.image_id,
        "container_format": export.container_format,
        "disk_format": export.disk_format,
        "image_name": export.image_name,
    }
    if not evs:
        record |= {"protected": export.protected, "visibility": export.visibility}
    return record


def message_record(export: Export, url: str) -> dict[str, object]:
    """The message about a failed export."""
    message_id = message_id_of(export)
    return {
        "id": message_id,
        "event_id": "VOLUME_VOLUME_003_004",
        "user_message": FAILURE,
        "message_level": "ERROR",
        "created_at": cinder_time(export.free_at),
        "guaranteed_until": cinder_time(export.free_at + MESSAGE_LIFE_S),
        "request_id": export.request_id,
        "links": _links(url, "messages", message_id),
        "resource_type": "VOLUME",
        "resource_uuid": export.volume_id,
    }


def message_id_of(export: Export) -> str:
    """The id of the message about a failed export, always the same for the same one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"message/{export.image_id}"))


def version_record(name: str, url: str) -> dict[str, object]:
    """What the service says of one of its versions; `url` is that version's own."""
    newest = name == "v3"
    return {
        "id": "v3.0" if newest else "v2.0",
        "status": "CURRENT" if newest else "SUPPORTED",
        "version": "3.71" if newest else "",
        "min_version": "3.0" if newest else "",
        "updated": "2023-08-31T00:00:00Z",
        "links": [{"rel": "self", "href": f"{url}/"}],
        "media-types": [
            {"base": "application/json", "type": f"application/vnd.openstack.volume+json;version={name[1:]}"}
        ],
    }


def _attachments(view: VolumeView) -> list[dict[str, object]]:
    """The servers of a volume; one that is not there, always the same, where the volume alone is in use."""
    volume_id = view.volume.volume_id
    server_ids = view.server_ids
    if view.volume.status == "in-use" and not server_ids:
        server_ids = (str(uuid.uuid5(uuid.NAMESPACE_URL, f"server/{volume_id}")),)
    return [
        {
            "server_id": server_id,
            "attachment_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"attachment/{volume_id}/{server_id}")),
            "attached_at": cinder_time(CREATED_AT),
            "host_name": None,
            "volume_id": volume_id,
            "device": "/dev/vdb",
            "id": volume_id,
        }
        for server_id in server_ids
    ]


def _links(url: str, collection: str, item_id: str) -> list[dict[str, str]]:
    base, _, _ = url.rpartition("/")
    tail = f"{PROJECT_ID}/{collection}/{item_id}"
    return [{"rel": "self", "href": f"{url}/{tail}"}, {"rel": "bookmark", "href": f"{base}/{tail}"}]

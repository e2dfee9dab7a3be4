"""The image that is delivered: whether it can be, and what a new one is made with."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from batchexport.engine.deliver.ports import DeliveryCloud
from batchexport.errors import NotFoundError, RefusedError, TransientError

#: Fields of an image that belong to its service and not to what it is.
_OF_THE_SERVICE = frozenset(
    {"id", "status", "created_at", "updated_at", "size", "virtual_size", "checksum", "owner", "self", "file"}
    | {"schema", "stores", "direct_url", "locations", "visibility", "protected", "os_hash_algo", "tags"}
    | {"os_hash_value", "os_hidden", "name", "disk_format", "container_format", "min_disk", "min_ram"}
    # Wrong elsewhere: keys, devices, servers and images of the other cloud; signatures of its services.
    | {"cinder_encryption_key_id", "cinder_encryption_key_deletion_policy", "block_device_mapping"}
    | {"instance_uuid", "base_image_ref", "signature_verified", "img_signature", "img_signature_hash_method"}
    | {"img_signature_key_type", "img_signature_certificate_uuid", "root_device_name", "bdm_v2"}
    | {"boot_roles", "user_id", "image_location"}
)
#: `owner_specified.…` are notes of openstacksdk on a file that it uploaded; `__…` belong to IMS.
_PREFIXES = ("os_glance_", "owner_specified", "__", "batchexport_")
#: What Glance takes: longer keys and values end in its error 500.
_MAX_KEY, _MAX_VALUE, _MAX_PROPERTIES = 255, 65_000, 120
_BEYOND_UTF8MB3 = re.compile("[\U00010000-\U0010ffff]")
_ENCRYPTION = ("cinder_encryption_key_id", "__system__encrypted")


class SourceImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that can be delivered."""

    image_id: str
    size: int
    hash: str | None  #: that the cloud tells: `sha512:9f86…`
    fields: Mapping[str, object]  #: of a new image of the same content
    protected: bool
    visibility: str

    @property
    def expected(self) -> Mapping[str, str]:
        """The digests that its data must have, by algorithm; empty = the cloud tells none."""
        algorithm, colon, digest = (self.hash or "").partition(":")
        return {algorithm: digest} if colon else {}


async def source_image(cloud: DeliveryCloud, image_id: str) -> SourceImage:
    """The image as it is now. Raises RefusedError where it cannot be delivered."""
    document = await cloud.image.data.get_document(image_id)
    image = await cloud.image.get_image(image_id)
    if document is None or image is None:
        raise NotFoundError(f"the image {image_id} is gone from the cloud that it was exported in")
    if image.status in ("queued", "saving", "importing", "uploading"):
        raise TransientError(f"the image is {image.status}")
    if image.status != "active":
        raise RefusedError(f"the image is {image.status}: only active ones can be read")
    if any(document.get(name) not in (None, "", "0") for name in _ENCRYPTION):
        raise RefusedError("the image is encrypted, and its key is in the cloud that it comes from")
    if not image.size_bytes:
        raise RefusedError("the cloud does not tell the size of the image: it could not be verified")
    return SourceImage(
        image_id=image_id,
        size=image.size_bytes,
        hash=image.details.hash if image.details else None,
        fields=fields_of(document),
        protected=document.get("protected") is True,
        visibility=str(document.get("visibility") or ""),
    )


def fields_of(document: Mapping[str, object]) -> dict[str, object]:
    """What a new image is made with: what describes the content, and nothing of the service it was in."""
    fields: dict[str, object] = {
        "name": document.get("name") or "",
        "disk_format": document.get("disk_format") or "raw",
        "container_format": document.get("container_format") or "bare",
    }
    for name in ("min_disk", "min_ram"):
        value = document.get(name)
        if isinstance(value, int) and value > 0:
            fields[name] = value
    tags = document.get("tags")
    if isinstance(tags, list) and tags:
        fields["tags"] = [tag for tag in tags if isinstance(tag, str) and _fits(tag, _MAX_KEY)]
    travelling = (
        (name, value)
        for name, value in sorted(document.items())
        if name not in _OF_THE_SERVICE and not name.startswith(_PREFIXES) and isinstance(value, str)
    )
    fits = [(name, value) for name, value in travelling if _fits(name, _MAX_KEY) and _fits(value, _MAX_VALUE)]
    return fields | dict(fits[:_MAX_PROPERTIES])


def _fits(text: str, most: int) -> bool:
    return 0 <= len(text) <= most and not _BEYOND_UTF8MB3.search(text)

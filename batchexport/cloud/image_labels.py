"""Labels: the properties and tags of images, set in one request each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.responses import require_same
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence
from batchexport.errors import AuthenticationError, NotFoundError, RefusedError
from batchexport.image_labels import LabelledImage, Labels

_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
#: Common servers accept request lines of 4 KB and more; an id has 36 characters.
_IDS_PER_REQUEST = 90


class _Page(msgspec.Struct):
    """A page of images, with everything that is told of each."""

    images: list[dict[str, Any]]


_IMAGE = msgspec.json.Decoder(dict[str, Any])
_PAGE = msgspec.json.Decoder(_Page)


class ImageLabels:
    """The labels of the images of one project."""

    def __init__(self, session: HttpSession, endpoint: Endpoint) -> None:
        self._session = session
        self._endpoint = endpoint
        self._lists_by_ids = True  # until the cloud was seen not to

    async def set_labels(self, image_id: str, labels: Labels, *, fence: Fence) -> None:
        """Set these properties, and these tags in the place of others. May be repeated.

        Lost without a word while the image is being written. Raises CloudError.
        """
        changes: list[dict[str, object]] = [
            {"op": "add", "path": f"/{key}", "value": value} for key, value in labels.properties.items()
        ]
        if labels.tags:
            changes.append({"op": "replace", "path": "/tags", "value": list(labels.tags)})
        body = msgspec.json.encode(changes)
        path = f"/images/{quote(image_id, safe='')}"
        await self._session.request("PATCH", self._endpoint, path, body=body, fence=fence, headers=_PATCH)

    async def labelled(self, image_ids: Sequence[str]) -> Mapping[str, LabelledImage]:
        """The images of these ids with their labels; those that the cloud does not show are left out.

        One request for many, or one for each where the cloud cannot list by ids. Raises CloudError.
        """
        found: dict[str, LabelledImage] = {}
        for begin in range(0, len(image_ids), _IDS_PER_REQUEST):
            batch = image_ids[begin : begin + _IDS_PER_REQUEST]
            if len(batch) > 1 and self._lists_by_ids:
                found.update(await self._listed(batch))
            for image_id in batch:
                if image_id not in found and (image := await self._read(image_id)) is not None:
                    found[image_id] = image
        return found

    async def _listed(self, image_ids: Sequence[str]) -> Mapping[str, LabelledImage]:
        ids = ",".join(quote(each, safe="") for each in image_ids)
        try:
            page = await self._session.read(
                self._endpoint, f"/images?limit={_IDS_PER_REQUEST}&id=in:{ids}", _PAGE
            )
        except AuthenticationError:
            raise
        except RefusedError:
            self._lists_by_ids = False
            return {}
        return {str(each.get("id")): _labelled(each) for each in page.images if each.get("id") in image_ids}

    async def _read(self, image_id: str) -> LabelledImage | None:
        path = f"/images/{quote(image_id, safe='')}"
        try:
            document = await self._session.read(self._endpoint, path, _IMAGE)
        except NotFoundError:
            return None
        require_same(image_id, str(document.get("id")), "image", path)
        return _labelled(document)


def _labelled(document: Mapping[str, Any]) -> LabelledImage:
    tags = document.get("tags")
    return LabelledImage(
        status=str(document.get("status") or "").lower(),
        labels=Labels(
            properties={key: value for key, value in document.items() if isinstance(value, str)},
            tags=tuple(each for each in tags if isinstance(each, str)) if isinstance(tags, list) else (),
        ),
    )

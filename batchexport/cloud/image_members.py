"""Sharing: the projects that an image is shared with."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.responses import LenientDecoder
from batchexport.cloud.http.session import HttpSession
from batchexport.cloud.http.transport import Fence


class Member(msgspec.Struct):
    """A project that an image is shared with."""

    member_id: str
    status: str = "pending"  #: or accepted, rejected


class MembersPage(msgspec.Struct):
    """The projects that an image is shared with."""

    members: list[Member] = []


_MEMBERS = LenientDecoder(MembersPage)


class ImageMembers:
    """With whom the images of one project are shared."""

    def __init__(self, session: HttpSession, endpoint: Endpoint) -> None:
        self._session = session
        self._endpoint = endpoint

    async def members(self, image_id: str) -> Sequence[Member]:
        """The projects that the image is shared with."""
        page = await self._session.read(self._endpoint, _path(image_id), _MEMBERS)
        return page.members

    async def add_member(self, image_id: str, project_id: str, *, fence: Fence) -> None:
        """Share the image with a project. Nothing checks that there is such a project.

        Raises VolumeStateError where it is shared with it already, ForbiddenError where the image is private.
        """
        body = msgspec.json.encode({"member": project_id})
        await self._session.request("POST", self._endpoint, _path(image_id), body=body, fence=fence)

    async def accept(self, image_id: str, project_id: str, *, fence: Fence) -> None:
        """Accept an image that is shared with our own project. May be repeated."""
        body = msgspec.json.encode({"status": "accepted"})
        path = f"{_path(image_id)}/{quote(project_id, safe='')}"
        await self._session.request("PUT", self._endpoint, path, body=body, fence=fence)


def _path(image_id: str) -> str:
    return f"/images/{quote(image_id, safe='')}/members"

"""Lists that come in pages: each asked for with the last id of the one before as its marker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.lenient import Decoder
from batchexport.cloud.session import Session
from batchexport.errors import FatalError, RefusedError, TransientError

#: The most that any of the clouds gives, and EVS refuses to be asked for more.
PAGE_SIZE = 1000


class Page(Protocol):
    """One answer to a list request."""

    @property
    def ids(self) -> Sequence[str]:
        """The ids of what is listed, in the order of the list."""
        ...

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that there are more."""
        ...


P = TypeVar("P", bound=Page)


class LinkRecord(msgspec.Struct):
    """A link beside a page, for instance to the next one."""

    rel: str | None = None


def leads_on(links: Sequence[LinkRecord] | None) -> bool:
    """Whether one of the links leads to another page."""
    return any(link.rel == "next" for link in links or ())


async def pages(
    session: Session, endpoint: Endpoint, path: str, decoder: Decoder[P], **filters: str | None
) -> AsyncIterator[P]:
    """The pages of a list that hold something, one request each. Filters that are None are left out.

    Raises TransientError where the list changed or repeated itself under way: begin again.
    """
    query = {name: value for name, value in filters.items() if value is not None}
    query["limit"] = str(PAGE_SIZE)
    markers: set[str] = set()
    while True:
        # Colons stay as the documents of the clouds write them: `created_at=gte:2026-01-01T00:00:00Z`.
        address = f"{path}?{urlencode(query, quote_via=quote, safe=':')}"
        page = await _page(session, endpoint, address, decoder, first=not markers)
        ids = page.ids
        if ids:
            yield page
        if not ids or not (page.has_next or len(ids) >= PAGE_SIZE):
            return
        query["marker"] = marker = ids[-1]
        if marker in markers:
            raise TransientError(f"the cloud repeats a page of {path} after marker {marker}", method="GET")
        markers.add(marker)


async def _page(session: Session, endpoint: Endpoint, path: str, decoder: Decoder[P], *, first: bool) -> P:
    try:
        return await session.read(endpoint, path, decoder)
    except RefusedError as error:
        if first or isinstance(error, FatalError):
            raise
        # The marker was deleted between the two requests: failed exports take their images with them.
        raise TransientError(
            f"the list changed while it was read: {error}",
            method=error.method,
            url=error.url,
            status=error.status,
            request_id=error.request_id,
        ) from error

"""Lists that come in pages: each asked for with the last id of the one before as its marker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.lenient import Decoder
from batchexport.cloud.page_sizes import SMALL_PAGE_SIZE
from batchexport.cloud.session import READ_REPEATS, Session
from batchexport.errors import FatalError, RefusedError, TransientError, UnreachableError

#: A list without an end is not read for ever: more entries than any project has, even by pages of a hundred.
MOST_PAGES = 5000
#: A long page is tried once more, then a short one is: each try may take as long as a gateway waits.
LONG_PAGE_REPEATS = 1
#: Gateways wait for a minute, most of them. What took that long is not tried again: others wait for the list.
TRY_AGAIN_WITHIN_S = 45.0
#: What a gateway answers that did not wait for the service, and a service whose database did not answer.
#: None = no answer at all.
_TOO_SLOW = frozenset({None, 500, 502, 504})


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

    Where the cloud cannot make a long page in time, short ones are asked for. Raises TransientError where the
    list changed or repeated itself under way: begin again; and RefusedError where it has no end.
    """
    query = {name: value for name, value in filters.items() if value is not None}
    size = session.page_sizes.begin(endpoint.url + path)
    markers: set[str] = set()
    marker: str | None = None
    while len(markers) < MOST_PAGES:
        page, size = await _page_in_time(session, endpoint, path, decoder, query, size, marker)
        ids = page.ids
        if ids:
            yield page
        if not ids or not (page.has_next or len(ids) >= size):
            return
        marker = ids[-1]
        if marker in markers:
            raise TransientError(f"the cloud repeats a page of {path} after marker {marker}", method="GET")
        markers.add(marker)
    raise RefusedError(
        f"the list {path} has no end: after {len(markers)} pages the cloud still names another one",
        method="GET",
        url=endpoint.url + path,
        hint="check that this is the endpoint of the service",
    )


async def _page_in_time(
    session: Session,
    endpoint: Endpoint,
    path: str,
    decoder: Decoder[P],
    query: Mapping[str, str],
    size: int,
    marker: str | None,
) -> tuple[P, int]:
    """The page behind `marker`, and how much was asked for: `size`, or less where so much came to nothing."""
    too_slow = False
    if size > SMALL_PAGE_SIZE:
        address = _address(path, query, size, marker)
        try:
            return await _page(session, endpoint, address, decoder, marker, repeats=LONG_PAGE_REPEATS), size
        except TransientError as error:
            too_slow = error.status in _TOO_SLOW and not isinstance(error, UnreachableError)
    asked = SMALL_PAGE_SIZE if too_slow else size
    address = _address(path, query, asked, marker)
    page = await _page(session, endpoint, address, decoder, marker, repeats=READ_REPEATS)
    if too_slow:
        session.page_sizes.was_slow(endpoint.url + path)
    return page, asked


def _address(path: str, query: Mapping[str, str], size: int, marker: str | None) -> str:
    asked = {**query, "limit": str(size)} | ({} if marker is None else {"marker": marker})
    # Colons stay as the documents of the clouds write them: `created_at=gte:2026-01-01T00:00:00Z`.
    return f"{path}?{urlencode(asked, quote_via=quote, safe=':')}"


async def _page(
    session: Session,
    endpoint: Endpoint,
    address: str,
    decoder: Decoder[P],
    marker: str | None,
    *,
    repeats: int,
) -> P:
    try:
        return await session.read(endpoint, address, decoder, repeats=repeats, within_s=TRY_AGAIN_WITHIN_S)
    except RefusedError as error:
        if marker is None or isinstance(error, FatalError):
            raise
        # The marker was deleted between the two requests: failed exports take their images with them.
        raise TransientError(
            f"the list changed while it was read: {error}",
            method=error.method,
            url=error.url,
            status=error.status,
            request_id=error.request_id,
        ) from error

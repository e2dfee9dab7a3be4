"""Lists that come in pages: the last id of one page is the marker of the next.

Where the cloud cannot produce a long page in time, shorter ones are requested.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.responses import Decoder
from batchexport.cloud.http.session import READ_RETRIES, HttpSession
from batchexport.errors import FatalError, RefusedError, TransientError, UnreachableError

log = logging.getLogger(__name__)
#: The most that any cloud returns; EVS refuses larger pages.
PAGE_SIZE = 1000
#: Where long pages take longer than the gateway waits.
SMALL_PAGE_SIZE = 100
#: After so many lists by small pages long ones are tried again: it may have been an outage.
SMALL_LISTS = 30
#: Ends a list without an end: even by pages of a hundred more than any project has.
MAX_PAGES = 5000
#: A long page is retried once, then a short one is tried: each may take as long as a gateway waits.
LONG_PAGE_RETRIES = 1
#: Most gateways wait for a minute. A page that took that long is not retried: others wait for the list.
RETRY_WITHIN_S = 45.0
#: Statuses of a gateway that stopped waiting for the service, and of a service whose database timed out.
#: None = no response.
_TOO_SLOW = frozenset({None, 500, 502, 504})


class Page(Protocol):
    """The response to one list request."""

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the records, in the order of the list."""
        ...

    @property
    def has_next(self) -> bool:
        """Whether the cloud says that another page follows."""
        ...


P = TypeVar("P", bound=Page)


class LinkRecord(msgspec.Struct):
    """A link that comes with a page, for instance to the next one."""

    rel: str | None = None


def has_next_link(links: Sequence[LinkRecord] | None) -> bool:
    """Whether one of the links leads to another page."""
    return any(link.rel == "next" for link in links or ())


class Pager:
    """Reads the lists of one service, one request a page."""

    def __init__(self, session: HttpSession, endpoint: Endpoint, *, microversion: str | None = None) -> None:
        """`microversion` is that of every request; None = any."""
        self._session = session
        self._microversion = microversion
        self._endpoint = endpoint
        self._sizes = PageSizes()

    async def pages(self, path: str, decoder: Decoder[P], **filters: str | None) -> AsyncIterator[P]:
        """The pages of a list that are not empty. Filters that are None are left out.

        Raises TransientError if the list changes or repeats itself while it is read (read it again), and
        RefusedError if it has no end.
        """
        query = {name: value for name, value in filters.items() if value is not None}
        size = self._sizes.begin(path)
        markers: set[str] = set()
        marker: str | None = None
        while len(markers) < MAX_PAGES:
            page, size = await self._page_in_time(path, decoder, query, size, marker)
            ids = page.ids
            if ids:
                yield page
            if not ids or not (page.has_next or len(ids) >= size):
                return
            marker = ids[-1]
            if marker in markers:
                raise TransientError(
                    f"the cloud repeats a page of {path} after marker {marker}", method="GET"
                )
            markers.add(marker)
        raise RefusedError(
            f"the list {path} has no end: another page follows after {len(markers)} pages",
            method="GET",
            url=self._endpoint.url + path,
            hint="check that this is the endpoint of the service",
        )

    async def _page_in_time(
        self, path: str, decoder: Decoder[P], query: Mapping[str, str], size: int, marker: str | None
    ) -> tuple[P, int]:
        """The page after `marker`, and the size requested: `size`, or less where that was too slow."""
        too_slow = False
        if size > SMALL_PAGE_SIZE:
            address = _address(path, query, size, marker)
            try:
                return await self._page(address, decoder, marker, retries=LONG_PAGE_RETRIES), size
            except TransientError as error:
                too_slow = error.status in _TOO_SLOW and not isinstance(error, UnreachableError)
        requested = SMALL_PAGE_SIZE if too_slow else size
        page = await self._page(
            _address(path, query, requested, marker), decoder, marker, retries=READ_RETRIES
        )
        if too_slow:
            self._sizes.was_slow(path)
        return page, requested

    async def _page(self, address: str, decoder: Decoder[P], marker: str | None, *, retries: int) -> P:
        try:
            return await self._session.read(
                self._endpoint,
                address,
                decoder,
                microversion=self._microversion,
                retries=retries,
                within_s=RETRY_WITHIN_S,
            )
        except RefusedError as error:
            if marker is None or isinstance(error, FatalError):
                raise
            # The marker was deleted between the two requests, like the image of a failed export.
            raise TransientError(
                f"the list changed while it was read: {error}",
                method=error.method,
                url=error.url,
                status=error.status,
                request_id=error.request_id,
            ) from error


def _address(path: str, query: Mapping[str, str], size: int, marker: str | None) -> str:
    parameters = {**query, "limit": str(size)} | ({} if marker is None else {"marker": marker})
    # Colons are not quoted, as in the clouds' documents: `created_at=gte:2026-01-01T00:00:00Z`.
    return f"{path}?{urlencode(parameters, quote_via=quote, safe=':')}"


class PageSizes:
    """Remembers the lists, by their paths, for which long pages are too slow."""

    def __init__(self) -> None:
        self._small: dict[str, int] = {}  # by path: lists begun since it was slow

    def begin(self, path: str) -> int:
        """How many records of this list to request at once."""
        lists = self._small.get(path)
        if lists is None:
            return PAGE_SIZE
        if lists >= SMALL_LISTS:
            del self._small[path]
            return PAGE_SIZE
        self._small[path] = lists + 1
        return SMALL_PAGE_SIZE

    def was_slow(self, path: str) -> None:
        """Note that a long page of this list failed while a short one came."""
        if not self._small:
            extra = {"action": "page_size_reduced", "page_size": SMALL_PAGE_SIZE}
            log.warning(
                "long lists are too slow; requesting %d records at once", SMALL_PAGE_SIZE, extra=extra
            )
        self._small[path] = 0

"""Lists that come in pages: each asked for with the last id of the one before as its marker.

Asks for less at once where the cloud does not make a long page in time.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from batchexport.cloud.catalog import Endpoint
from batchexport.cloud.http.responses import Decoder
from batchexport.cloud.http.session import READ_REPEATS, HttpSession
from batchexport.errors import FatalError, RefusedError, TransientError, UnreachableError

log = logging.getLogger(__name__)
#: The most that any of the clouds gives, and EVS refuses to be asked for more.
PAGE_SIZE = 1000
#: What is asked for where long pages take longer than the gateway waits for them.
SMALL_PAGE_SIZE = 100
#: After so many lists by small pages the long ones are tried again: it may have been an outage.
SMALL_LISTS = 30
#: A list without an end is not read for ever: more entries than any project has, even by pages of a hundred.
MAX_PAGES = 5000
#: A long page is tried once more, then a short one is: each try may take as long as a gateway waits.
LONG_PAGE_REPEATS = 1
#: Gateways wait for a minute, most of them. What took that long is not tried again: others wait for the list.
RETRY_WITHIN_S = 45.0
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


def has_next_link(links: Sequence[LinkRecord] | None) -> bool:
    """Whether one of the links leads to another page."""
    return any(link.rel == "next" for link in links or ())


class Pager:
    """Reads the lists of one service, one request a page."""

    def __init__(self, session: HttpSession, endpoint: Endpoint) -> None:
        self._session = session
        self._endpoint = endpoint
        self._sizes = PageSizes()

    async def pages(self, path: str, decoder: Decoder[P], **filters: str | None) -> AsyncIterator[P]:
        """The pages of a list that hold something. Filters that are None are left out.

        Where the cloud cannot make a long page in time, short ones are asked for. Raises TransientError where
        the list changed or repeated itself under way: begin again; and RefusedError where it has no end.
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
            f"the list {path} has no end: after {len(markers)} pages the cloud still names another one",
            method="GET",
            url=self._endpoint.url + path,
            hint="check that this is the endpoint of the service",
        )

    async def _page_in_time(
        self, path: str, decoder: Decoder[P], query: Mapping[str, str], size: int, marker: str | None
    ) -> tuple[P, int]:
        """The page behind `marker`, and how much was asked for: `size`, or less where that was too slow."""
        too_slow = False
        if size > SMALL_PAGE_SIZE:
            address = _address(path, query, size, marker)
            try:
                return await self._page(address, decoder, marker, repeats=LONG_PAGE_REPEATS), size
            except TransientError as error:
                too_slow = error.status in _TOO_SLOW and not isinstance(error, UnreachableError)
        asked = SMALL_PAGE_SIZE if too_slow else size
        page = await self._page(_address(path, query, asked, marker), decoder, marker, repeats=READ_REPEATS)
        if too_slow:
            self._sizes.was_slow(path)
        return page, asked

    async def _page(self, address: str, decoder: Decoder[P], marker: str | None, *, repeats: int) -> P:
        try:
            return await self._session.read(
                self._endpoint, address, decoder, repeats=repeats, within_s=RETRY_WITHIN_S
            )
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


def _address(path: str, query: Mapping[str, str], size: int, marker: str | None) -> str:
    asked = {**query, "limit": str(size)} | ({} if marker is None else {"marker": marker})
    # Colons stay as the documents of the clouds write them: `created_at=gte:2026-01-01T00:00:00Z`.
    return f"{path}?{urlencode(asked, quote_via=quote, safe=':')}"


class PageSizes:
    """Remembers of which lists, by their addresses, long pages came to nothing while short ones came."""

    def __init__(self) -> None:
        self._small: dict[str, int] = {}  # by address: lists that were begun since it was slow

    def begin(self, address: str) -> int:
        """How many entries of this list to ask for at once."""
        lists = self._small.get(address)
        if lists is None:
            return PAGE_SIZE
        if lists >= SMALL_LISTS:
            del self._small[address]
            return PAGE_SIZE
        self._small[address] = lists + 1
        return SMALL_PAGE_SIZE

    def was_slow(self, address: str) -> None:
        """A long page of this list came to nothing, and a short one came."""
        if not self._small:
            log.warning("long lists take the cloud too long; asking for %d entries at once", SMALL_PAGE_SIZE)
        self._small[address] = 0

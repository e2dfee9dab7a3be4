"""What the requests to block storage have in common: version, project, filters and links."""

from __future__ import annotations

from collections.abc import Container, Mapping

from aiohttp import web

from batchexport.sandbox.microversion import HEADER, Microversion, read_microversion
from batchexport.sandbox.paging import link
from batchexport.sandbox.replies import Refusal
from batchexport.sandbox.settings import PROJECT_ID

#: Parameters that choose no records: they are never taken for filters.
PAGE_PARAMETERS = {"limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count"}
FILTERS_CHECKED_SINCE = (3, 31)


def checked_microversion(request: web.Request) -> Microversion:
    """The microversion of a request for our own project; v2 has none."""
    on_v3 = request.match_info.get("version", "v3") == "v3"
    microversion = read_microversion(request.headers.get(HEADER) if on_v3 else None)
    if request.match_info["project_id"] != PROJECT_ID:
        raise Refusal(400, "Malformed request url")
    return microversion


def refuse_unknown_filters(
    query: Mapping[str, str], known: Container[str], microversion: Microversion
) -> None:
    """Refuses, from the microversion that began to, parameters that are neither filters nor about pages."""
    if microversion < FILTERS_CHECKED_SINCE:
        return
    unknown = [name for name in query if name not in known and name not in PAGE_PARAMETERS]
    if unknown:
        raise Refusal(400, f"Invalid filters {', '.join(unknown)} are found in query options.")


def next_link(request: web.Request, marker: str) -> dict[str, str]:
    """The link from a full page to the one behind `marker`."""
    path = f"{request.url.origin()}{request.path}"
    return {"rel": "next", "href": link(path, request.query, marker=marker)}


def api_url(request: web.Request) -> str:
    """The address of the version asked for, such as `http://…/volume/v3`."""
    version = request.match_info.get("version", "v3")
    before, _, _ = request.path.partition(f"/{version}")
    return f"{request.url.origin()}{before}/{version}"

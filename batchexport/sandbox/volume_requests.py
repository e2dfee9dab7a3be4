"""What the requests to block storage have in common: version, project and filters."""

from __future__ import annotations

from collections.abc import Container, Mapping

from aiohttp import web

from batchexport.sandbox.microversion import HEADER, Microversion, read_microversion
from batchexport.sandbox.replies import Refusal
from batchexport.sandbox.requests import refuse_other_projects

#: Parameters that choose no records: they are never taken for filters.
PAGE_PARAMETERS = {"limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count"}
FILTERS_CHECKED_SINCE = (3, 31)


def checked_microversion(request: web.Request) -> Microversion:
    """The microversion of a request for our own project; v2 has none."""
    on_v3 = request.match_info.get("version", "v3") == "v3"
    microversion = read_microversion(request.headers.get(HEADER) if on_v3 else None)
    refuse_other_projects(request)
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

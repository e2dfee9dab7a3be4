"""What requests have in common: project, version, address, filters, actions."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from contextvars import ContextVar

import msgspec
from aiohttp import web

from batchexport.sandbox.paging import link
from batchexport.sandbox.responses import Refusal
from batchexport.sandbox.settings import PROJECT_ID

#: Whether the request at hand is for another action than an export, though it came by the same path.
OTHER_ACTION: ContextVar[bool] = ContextVar("OTHER_ACTION", default=False)


def refuse_other_projects(request: web.Request) -> None:
    """Refuses a path that names another project than ours; one that names none is fine."""
    if request.match_info.get("project_id", PROJECT_ID) != PROJECT_ID:
        raise Refusal(400, "Malformed request url")


def next_link(request: web.Request, marker: str) -> dict[str, str]:
    """The link from a full page to the one behind `marker`."""
    path = f"{request.url.origin()}{request.path}"
    return {"rel": "next", "href": link(path, request.query, marker=marker)}


def api_url(request: web.Request) -> str:
    """The address of the version asked for, such as `http://…/volume/v3`."""
    version = request.match_info.get("version", "v3")
    before, _, _ = request.path.partition(f"/{version}")
    return f"{request.url.origin()}{before}/{version}"


def one_action(body: bytes) -> tuple[str, object]:
    """The name and the options of the one action that a body asks for."""
    try:
        actions = msgspec.json.decode(body)
    except msgspec.DecodeError:
        actions = None
    if not isinstance(actions, dict) or len(actions) != 1:
        raise Refusal(400, "Malformed request body")
    ((name, options),) = actions.items()
    return name, options


HEADER = "OpenStack-API-Version"
OLDEST = (3, 0)  #: also what is spoken without the header
NEWEST = (3, 71)

Microversion = tuple[int, int]


def read_microversion(header: str | None) -> Microversion:
    """The microversion that the header asks for: refused with 400 if malformed, with 406 if unknown."""
    text = _for_volumes(header or "")
    if text is None:
        return OLDEST
    if text == "latest":
        return NEWEST
    if not re.fullmatch(r"[0-9]+\.[0-9]+", text):
        words = f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
        raise Refusal(400, words)
    major, minor = (int(part) for part in text.split("."))
    if not OLDEST <= (major, minor) <= NEWEST:
        words = f"Version {text} is not supported by the API. Minimum is 3.0 and maximum is 3.71."
        raise Refusal(406, words)
    return major, minor


def _for_volumes(header: str) -> str | None:
    """The part of the header that is meant for block storage; other services may share it."""
    for part in header.split(","):
        service, _, text = part.strip().partition(" ")
        if service == "volume":
            return text.strip()
    return None


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

"""The messages of block storage: the only place that tells why an export failed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from aiohttp import web

from batchexport.sandbox.paging import behind, read_limit
from batchexport.sandbox.requests import (
    Microversion,
    api_url,
    checked_microversion,
    next_link,
    refuse_unknown_filters,
)
from batchexport.sandbox.responses import Refusal, json_reply
from batchexport.sandbox.state import STATE
from batchexport.sandbox.volume_records import message_id_of, message_record

MESSAGE_FILTERS = ("resource_uuid", "resource_type", "event_id", "request_id", "message_level")
# The microversions that brought messages, and pages and filters for them.
MESSAGES_SINCE = (3, 3)
MESSAGES_PAGED_SINCE = (3, 5)


def routes() -> list[web.RouteDef]:
    """The paths of the messages; only v3 has them."""
    messages = "/volume/v3/{project_id}/messages"
    return [
        web.get(messages, list_messages),
        web.get(f"{messages}/{{message_id}}", get_message),
    ]


async def list_messages(request: web.Request) -> web.Response:
    """The messages about failed exports."""
    microversion = checked_microversion(request)
    if microversion < MESSAGES_SINCE:
        raise web.HTTPNotFound
    state, url = request.app[STATE], api_url(request)
    messages = (message_record(export, url) for export in state.world.failed_exports(state.now()))
    if microversion < MESSAGES_PAGED_SINCE:
        return json_reply({"messages": list(messages)})
    return json_reply(_page_of_messages(request, messages, microversion))


async def get_message(request: web.Request) -> web.Response:
    """One message."""
    if checked_microversion(request) < MESSAGES_SINCE:
        raise web.HTTPNotFound
    state, message_id = request.app[STATE], request.match_info["message_id"]
    for export in state.world.failed_exports(state.now()):
        if message_id_of(export) == message_id:
            return json_reply({"message": message_record(export, api_url(request))})
    raise Refusal(404, f"Message {message_id} could not be found.")


def _page_of_messages(
    request: web.Request, messages: Iterator[dict[str, object]], microversion: Microversion
) -> dict[str, object]:
    query = request.query
    page_limit = request.app[STATE].settings.page_limit
    limit = read_limit(query, default=page_limit, maximum=page_limit)
    refuse_unknown_filters(query, MESSAGE_FILTERS, microversion)
    filters = {name: text for name, text in query.items() if name in MESSAGE_FILTERS}
    if (marker := query.get("marker")) is not None:
        messages = behind(messages, lambda message: message["id"] == marker)
    chosen = (message for message in messages if all(message[name] == text for name, text in filters.items()))
    page = list(islice(chosen, limit))
    body: dict[str, object] = {"messages": page}
    if page and len(page) == limit:
        body["messages_links"] = [next_link(request, str(page[-1]["id"]))]
    return body

"""What becomes of an answer on its way back: lost, swapped, repeated, compressed, or with long headers."""

from __future__ import annotations

import asyncio
import gzip

from aiohttp import web

from batchexport.sandbox.weather.conditions import MAX_CACHED, Accepted, Asked, Cached, Conditions
from batchexport.sandbox.weather.settings import Stale, Swapped

ACCEPTED = 202


def body_of(response: web.StreamResponse) -> bytes | None:
    """The body of an ordinary answer."""
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes) else None


def break_off(request: web.Request) -> web.Response:
    """Close the connection instead of an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def of_another(conditions: Conditions, asked: Asked, response: web.Response) -> None:
    """Give an accepted export the answer to another one, where it is drawn to get that."""
    weather, body = conditions.weather, body_of(response)
    if body is None or response.status != ACCEPTED:
        return
    earlier = conditions.last_accepted
    conditions.last_accepted = body
    if earlier is not None and conditions.hits("repeated", weather.repeated, asked):
        response.body = earlier
    elif weather.swapped is not None:
        await _swap(conditions, weather.swapped, asked, response, body)


def dress(conditions: Conditions, asked: Asked, response: web.Response) -> None:
    """Compress an answer and lengthen its headers, where it is drawn."""
    weather, body = conditions.weather, body_of(response)
    if weather.long_headers is not None and conditions.hits("long_headers", weather.long_headers, asked):
        response.headers["X-Policy-Trace"] = "a" * weather.long_headers.size
    if body and conditions.hits("gzip", weather.gzip, asked):
        response.body = gzip.compress(body)
        response.headers["Content-Encoding"] = "gzip"


def remember(conditions: Conditions, asked: Asked, response: web.StreamResponse, now: float) -> None:
    """Keep a good answer to a read for the cache."""
    body = body_of(response)
    if conditions.weather.stale is None or not asked.is_read or response.status != 200 or body is None:
        return
    conditions.cache[asked.path] = Cached(body=body, content_type=response.content_type, at=now)
    conditions.cache.move_to_end(asked.path)
    while len(conditions.cache) > MAX_CACHED:
        conditions.cache.popitem(last=False)


def repeated_read(conditions: Conditions, asked: Asked, now: float) -> web.Response | None:
    """An earlier answer to the same read, where the cache is drawn to give it."""
    stale: Stale | None = conditions.weather.stale
    cached = conditions.cache.get(asked.path)
    if stale is None or cached is None or not asked.is_read or now - cached.at > stale.seconds:
        return None
    if not conditions.hits("stale", stale, asked):
        return None
    return web.Response(body=cached.body, content_type=cached.content_type)


async def _swap(
    conditions: Conditions, swapped: Swapped, asked: Asked, response: web.Response, body: bytes
) -> None:
    if (waiting := conditions.to_swap) is not None and not waiting.other.done():
        conditions.to_swap = None
        waiting.other.set_result(body)
        response.body = waiting.body
        conditions.count("swapped")
        return
    if conditions.draw("swapped", asked.path, asked.number) >= swapped.share:
        return
    mine = Accepted(body=body, other=asyncio.get_running_loop().create_future())
    conditions.to_swap = mine
    try:
        response.body = await asyncio.wait_for(mine.other, swapped.within_s)
    except TimeoutError:
        if conditions.to_swap is mine:
            conditions.to_swap = None

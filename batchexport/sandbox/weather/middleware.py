"""Where the weather meets the requests: before a service sees one, and after it has answered."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from batchexport.sandbox.responses import Service, json_reply, service_of
from batchexport.sandbox.state import STATE, SandboxState, kind_of
from batchexport.sandbox.weather import others, request_faults, response_faults
from batchexport.sandbox.weather.conditions import (
    LAG_S,
    SENT_BY,
    Asked,
    Conditions,
    by_true_time,
    in_records_s,
    shifted,
)
from batchexport.sandbox.weather.settings import Lost

TOO_MANY_SIGN_INS = "Too many authentication requests."


@web.middleware
async def weather(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets every request meet the weather of the sandbox."""
    state = request.app[STATE]
    conditions, kind = state.conditions, kind_of(request)
    if conditions.calm:
        return await handler(request)
    if service_of(request.path) is Service.IDENTITY:
        return await _identity(state, request, handler, kind)
    asked = conditions.asked(request, kind)
    if asked is None:
        return await handler(request)
    if asked.is_export or asked.is_creation:
        return await _export(state, asked, request, handler)
    return await _through(state, asked, request, handler)


async def _through(
    state: SandboxState, asked: Asked, request: web.Request, handler: Handler
) -> web.StreamResponse:
    conditions, now = state.conditions, state.now()
    if stopped := await request_faults.stopped(conditions, asked):
        return stopped
    response_faults.refuse_away(conditions, asked, now)
    if asked.kind == "get_image" and asked.subject == response_faults.ODD_ID and conditions.weather.odd_image:
        return json_reply(response_faults.odd_image(now))
    if (cached := response_faults.repeated_read(conditions, asked, now)) is not None:
        return cached
    ahead = in_records_s(conditions, asked.service, now)
    power_before = len(state.world.servers.powers)
    response = await _seen_by_replica(conditions, asked, by_true_time(request, ahead), handler)
    for power in state.world.servers.powers[power_before:]:
        for event in others.after_power(conditions, power):
            state.record(event)
    if not isinstance(response, web.Response):
        return response
    _rewrite(conditions, asked, response, now, ahead)
    response_faults.remember(conditions, asked, response, now)
    response_faults.dress(conditions, asked, response)
    return response


def _rewrite(conditions: Conditions, asked: Asked, response: web.Response, now: float, ahead: float) -> None:
    raw = response_faults.body_of(response)
    if raw is None or response.status >= 300 or response.content_type != "application/json":
        return
    body: Any = msgspec.json.decode(raw)
    if asked.is_list:
        response_faults.seen(conditions, asked, body, now)
    response.body = msgspec.json.encode(shifted(body, ahead) if ahead else body)


async def _seen_by_replica(
    conditions: Conditions, asked: Asked, request: web.Request, handler: Handler
) -> web.StreamResponse:
    lag = conditions.weather.lag
    if lag is None or not asked.is_read or (lag.reads == "lists") > asked.is_list:
        return await handler(request)
    if (lag.reads == "by_id" and asked.is_list) or not conditions.hits("lag", lag, asked):
        return await handler(request)
    token = LAG_S.set(lag.seconds)
    try:
        return await handler(request)
    finally:
        LAG_S.reset(token)


async def _export(
    state: SandboxState, asked: Asked, request: web.Request, handler: Handler
) -> web.StreamResponse:
    conditions = state.conditions
    await request.read()  # it is needed after the connection broke, too
    lost = conditions.weather.lost
    if lost is not None and conditions.hits("lost", lost, asked):
        return await _unanswered(state, lost, asked, request, handler)
    return await _carried_out(state, asked, request, handler)


async def _carried_out(
    state: SandboxState, asked: Asked, request: web.Request, handler: Handler
) -> web.StreamResponse:
    conditions = state.conditions
    if asked.is_export and conditions.strikes("rival", conditions.weather.rival, asked.subject, asked.number):
        await _by_somebody(handler, request)
    exports = state.world.export_count
    response = await _through(state, asked, request, handler)
    for export in state.world.exports_since(exports):
        number = state.world.exports_of(export.volume_id)
        for event in others.after_export(conditions, export, number):
            state.record(event)
    if isinstance(response, web.Response):
        await response_faults.of_another(conditions, asked, response)
    return response


async def _unanswered(
    state: SandboxState, lost: Lost, asked: Asked, request: web.Request, handler: Handler
) -> web.StreamResponse:
    conditions = state.conditions

    async def later() -> None:
        await asyncio.sleep(lost.late_s)
        try:
            await _carried_out(state, asked, request, handler)
        except Exception:  # a refusal that reaches no client
            conditions.count("lost, then refused")

    if conditions.pseudo_random("carried out", asked.path, asked.number) < lost.carried_out:
        if lost.late_s:
            task = asyncio.create_task(later())
            conditions.late.add(task)
            task.add_done_callback(conditions.late.discard)
        else:
            await _carried_out(state, asked, request, handler)
    return response_faults.break_off(request)


async def _by_somebody(handler: Handler, request: web.Request) -> None:
    token = SENT_BY.set(others.SOMEBODY)
    try:
        await handler(request)
    except Exception:
        pass
    finally:
        SENT_BY.reset(token)


async def _identity(
    state: SandboxState, request: web.Request, handler: Handler, kind: str
) -> web.StreamResponse:
    conditions, now = state.conditions, state.now()
    fault = conditions.weather.identity
    if fault is not None:
        if fault.away_from_s <= now - conditions.began_at < fault.away_from_s + fault.away_for_s:
            conditions.count("identity")
            return request_faults.gateway_says(503)
        if kind == "auth" and fault.per_second:
            conditions.sign_ins = [at for at in conditions.sign_ins if now - 1.0 < at <= now]
            if len(conditions.sign_ins) >= fault.per_second:
                conditions.count("identity")
                error = {"code": 429, "message": TOO_MANY_SIGN_INS, "title": "Too Many Requests"}
                return json_reply({"error": error}, status=429, headers={"Retry-After": "1"})
            conditions.sign_ins.append(now)
        if fault.slow_s and conditions.strikes("identity", fault, int(now * 1000)):
            await asyncio.sleep(fault.slow_s)
    ahead = in_records_s(conditions, "identity", now)
    response = await handler(request)
    raw = response_faults.body_of(response)
    if ahead and kind == "auth" and raw is not None and isinstance(response, web.Response):
        response.body = msgspec.json.encode(shifted(msgspec.json.decode(raw), ahead))
    return response

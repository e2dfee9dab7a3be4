"""What requests for snapshots and for volumes have in common: bodies, names, metadata, quotas."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping

import msgspec
from aiohttp import web

from batchexport.sandbox.requests import checked_microversion
from batchexport.sandbox.responses import Refusal, json_reply
from batchexport.sandbox.settings import PROJECT_ID
from batchexport.sandbox.state import STATE, SandboxState
from batchexport.sandbox.storage import Change, Item, Removal, RemovalOutcome

MAX_NAME = 255
METADATA_KEY = re.compile(r"[a-zA-Z0-9-_:. /]{1,255}")
#: The values that a client may write for a filter by metadata: as Python or as JSON.
_TEXTS = msgspec.json.Decoder(dict[str, str])


def read_fields(body: bytes, what: str, known: Collection[str]) -> dict[str, object]:
    """The object `what` of a body. Refuses one with a field that is not known."""
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        content = None
    fields = content.get(what) if isinstance(content, dict) else None
    if not isinstance(fields, dict):
        raise Refusal(400, f"Invalid input for field/attribute {what}. '{what}' is a required property")
    for name in fields:
        if name not in known:
            words = f"Additional properties are not allowed ('{name}' was unexpected)"
            raise Refusal(400, f"Invalid input for field/attribute {what}. Value: {fields}. {words}")
    return fields


def read_text(fields: Mapping[str, object], name: str, *, max_length: int = MAX_NAME) -> str | None:
    """A text of at most `max_length` characters; None = null or missing."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _invalid(name, value, f"{value!r} is not of type 'string', 'null'")
    if len(value) > max_length:
        raise _invalid(name, value, f"{value!r} is too long")
    return value


def read_metadata(fields: Mapping[str, object], name: str = "metadata") -> dict[str, str]:
    """Metadata; empty = null or missing."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(name, value, f"{value!r} is not of type 'object', 'null'")
    for key, text in value.items():
        if not METADATA_KEY.fullmatch(key):
            raise _invalid(name, value, f"{key!r} does not match any of the regexes")
        if not isinstance(text, str) or len(text) > MAX_NAME:
            raise _invalid(key, text, f"{text!r} is not a text of at most {MAX_NAME} characters")
    return value


def metadata_filter(text: str) -> dict[str, str]:
    """The pairs that a filter by metadata asks for, whether a client wrote them as Python or as JSON."""
    try:
        return _TEXTS.decode(text)
    except msgspec.MsgspecError:
        pass
    try:
        pairs = msgspec.convert(ast.literal_eval(text), dict[str, str])
    except (ValueError, SyntaxError, msgspec.MsgspecError):
        raise Refusal(400, f"Invalid metadata filter: {text}") from None
    return pairs


def has_metadata(item: Item, pairs: Mapping[str, str]) -> bool:
    """Whether the item has all these pairs."""
    return pairs.items() <= item.metadata.items()


def removal_of(state: SandboxState, item_id: str, *, now: float, takes_s: float) -> Removal:
    """The removal of a snapshot or a volume that is accepted now, with its outcome."""
    conditions, earlier = state.conditions, state.world.storage.removals(item_id)
    outcome: RemovalOutcome = "gone"
    if conditions.strikes("undeletable", conditions.weather.undeletable, item_id):
        outcome = "failed"
    elif conditions.strikes("busy", conditions.weather.busy, item_id, earlier):
        outcome = "busy"
    ends_at = max(now + takes_s * state.settings.time_scale, state.world.storage.copied_until(item_id))
    return Removal(item_id=item_id, accepted_at=now, ends_at=ends_at, outcome=outcome)


def over_quota(
    state: SandboxState, now: float, *, snapshots: int = 0, volumes: int = 0, size_gib: int
) -> web.Response | None:
    """The refusal of a request that would need more than the quotas leave; None = it does not.

    Cinder words it as its limiter words a throttle: 413 with `Retry-After: 0`.
    """
    quotas, used = state.settings.quotas, usage(state, now)
    message = None
    if 0 <= quotas.gigabytes < used["gigabytes"] + size_gib:
        message = (
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. "
            f"Requested {size_gib}G, quota is {quotas.gigabytes}G and {used['gigabytes']}G has been consumed."
        )
    elif snapshots and 0 <= quotas.snapshots < used["snapshots"] + snapshots:
        message = f"SnapshotLimitExceeded: Maximum number of snapshots allowed ({quotas.snapshots}) exceeded"
    elif volumes and 0 <= quotas.volumes < used["volumes"] + volumes:
        message = (
            f"VolumeLimitExceeded: Maximum number of volumes allowed ({quotas.volumes}) exceeded for quota"
            " 'volumes'."
        )
    if message is None:
        return None
    state.counts["over_quota"] += 1
    fault = {"code": 413, "message": message, "retryAfter": "0"}
    return json_reply({"overLimit": fault}, status=413, headers={"Retry-After": "0"})


def usage(state: SandboxState, now: float) -> dict[str, int]:
    """What counts against the quotas. Volumes that no list shows do not."""
    volumes = [view.volume.size_gib for view in state.world.volumes(now)]
    snapshots = [item.creation.size_gib for item in state.world.storage.snapshots(now) if item.creation]
    return {
        "volumes": len(volumes),
        "snapshots": len(snapshots),
        "gigabytes": sum(volumes) + sum(snapshots),
    }


async def get_limits(request: web.Request) -> web.Response:
    """The quotas and their usage, as `limits`."""
    checked_microversion(request)
    state = request.app[STATE]
    quotas, used = state.settings.quotas, usage(state, state.now())
    absolute = {
        "maxTotalVolumes": quotas.volumes,
        "maxTotalSnapshots": quotas.snapshots,
        "maxTotalVolumeGigabytes": quotas.gigabytes,
        "maxTotalBackups": 10,
        "maxTotalBackupGigabytes": 1000,
        "totalVolumesUsed": used["volumes"],
        "totalSnapshotsUsed": used["snapshots"],
        "totalGigabytesUsed": used["gigabytes"],
        "totalBackupsUsed": 0,
        "totalBackupGigabytesUsed": 0,
    }
    return json_reply({"limits": {"rate": [], "absolute": absolute}})


async def get_quota_set(request: web.Request) -> web.Response:
    """The quotas of our project, with `usage=True` beside what is used of them."""
    checked_microversion(request)
    if request.match_info["quota_project_id"] != PROJECT_ID:
        raise Refusal(403, "Policy doesn't allow volume_extension:quotas:show to be performed.")
    state = request.app[STATE]
    quotas, used = state.settings.quotas, usage(state, state.now())
    limits = {
        "volumes": quotas.volumes,
        "snapshots": quotas.snapshots,
        "gigabytes": quotas.gigabytes,
        "per_volume_gigabytes": -1,
        "backups": 10,
        "backup_gigabytes": 1000,
        "groups": 10,
    }
    body: dict[str, object] = {"id": PROJECT_ID, **limits}
    if request.query.get("usage", "").lower() == "true":
        body |= {
            name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
            for name, limit in limits.items()
        }
    return json_reply({"quota_set": body})


Found = Callable[[web.Request], tuple[str, Item]]


def metadata_routes(path: str, found: Found) -> list[web.RouteDef]:
    """The paths of the metadata of items below `path`; `found` finds the item, or refuses the request."""

    async def get_metadata(request: web.Request) -> web.Response:
        _, item = found(request)
        return json_reply({"metadata": item.metadata})

    async def set_metadata(request: web.Request) -> web.Response:
        body = await request.read()
        item_id, item = found(request)
        given = read_metadata(read_body(body))
        merged = given if request.method == "PUT" else {**item.metadata, **given}
        return _record(request, item_id, merged, {"metadata": merged})

    async def get_metadata_key(request: web.Request) -> web.Response:
        _, item = found(request)
        key = _key(request, item)
        return json_reply({"meta": {key: item.metadata[key]}})

    async def set_metadata_key(request: web.Request) -> web.Response:
        body = await request.read()
        item_id, item = found(request)
        given, key = read_metadata(read_body(body), "meta"), request.match_info["key"]
        if list(given) != [key]:
            raise Refusal(400, "Request body and URI mismatch")
        return _record(request, item_id, {**item.metadata, **given}, {"meta": given})

    async def delete_metadata_key(request: web.Request) -> web.Response:
        item_id, item = found(request)
        key = _key(request, item)
        left = {name: text for name, text in item.metadata.items() if name != key}
        return _record(request, item_id, left, {})

    return [
        web.get(f"{path}/metadata", get_metadata),
        web.post(f"{path}/metadata", set_metadata),
        web.put(f"{path}/metadata", set_metadata),
        web.get(f"{path}/metadata/{{key}}", get_metadata_key),
        web.put(f"{path}/metadata/{{key}}", set_metadata_key),
        web.delete(f"{path}/metadata/{{key}}", delete_metadata_key),
    ]


def read_body(body: bytes) -> dict[str, object]:
    """The object that a body is."""
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        content = None
    if not isinstance(content, dict):
        raise Refusal(400, "Malformed request body")
    return content


def _record(request: web.Request, item_id: str, metadata: Mapping[str, str], body: object) -> web.Response:
    state = request.app[STATE]
    state.record(Change(item_id=item_id, changed_at=state.now(), metadata=metadata))
    return json_reply(body)


def _key(request: web.Request, item: Item) -> str:
    key = request.match_info["key"]
    if key not in item.metadata:
        raise Refusal(404, f"Metadata item was not found: {key}")
    return key


def _invalid(name: str, value: object, words: str) -> Refusal:
    return Refusal(400, f"Invalid input for field/attribute {name}. Value: {value}. {words}")

"""How each service words its responses. No two of them have the same envelope for a refusal."""

from __future__ import annotations

import http
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from aiohttp import web

REQUEST_ID = "x-openstack-request-id"  #: the header that names a request


class Service(StrEnum):
    """The services, by the first part of their paths."""

    IDENTITY = "identity"
    VOLUME = "volume"
    IMAGE = "image"
    COMPUTE = "compute"
    EVS = "evs"
    IMS = "ims"
    ECS = "ecs"


class Refusal(Exception):
    """A request is refused with this status and message, in the words of the service that was asked.

    `code` is for services that have codes of their own; None = theirs for this status.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


NOT_FOUND = "The resource could not be found."
NOT_SIGNED_IN = "The request you have made requires authentication."
NOT_VERIFIED = (
    "This server could not verify that you are authorized to access the document you requested. Either you "
    "supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply "
    "the credentials required."
)
SERVER_ERROR = "The server has either erred or is incapable of performing the requested operation."

#: The name that Cinder and Nova give a refusal, by its status.
FAULT_NAMES = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
}


def service_of(path: str) -> Service | None:
    """The service that a path belongs to."""
    name = path.split("/", 2)[1]
    if name in ("v2", "v3"):  # EVS as on a host of its own, where clients of the vendor look for it
        return Service.EVS
    if name == "v1":  # and so for ECS
        return Service.ECS
    return Service(name) if name in Service.__members__.values() else None


def new_request_id() -> str:
    """An id for a request."""
    return f"req-{uuid.uuid4()}"


def json_reply(
    payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer with a JSON body."""
    return web.Response(
        body=msgspec.json.encode(payload), status=status, content_type="application/json", headers=headers
    )


def refusal_reply(service: Service | None, refusal: Refusal, *, accept: str) -> web.Response:
    """The refusal in the envelope of the service; only Glance honours the client's `Accept`."""
    status, message = refusal.status, refusal.message
    if service is Service.EVS:
        return _native_refusal(refusal, code=f"EVS.5{status}")
    if service is Service.IMS and status == 400:
        return _native_refusal(refusal, code="IMG.0001")
    if service is Service.ECS and refusal.code is not None:
        return _native_refusal(refusal, code=refusal.code)
    title = http.HTTPStatus(status).phrase
    if service in (Service.IMAGE, Service.IMS):
        return _glance_refusal(status, NOT_VERIFIED if status == 401 else message, accept=accept)
    if service in (Service.VOLUME, Service.COMPUTE, Service.ECS) and status != 401:
        fault = {"code": status, "message": message}
        return json_reply({FAULT_NAMES.get(status, "computeFault"): fault}, status=status)
    return json_reply({"error": {"code": status, "message": message, "title": title}}, status=status)


def _native_refusal(refusal: Refusal, *, code: str) -> web.Response:
    """As EVS and IMS word it themselves; what the gateway in front of them refuses, `gateway` words."""
    fault = {"message": refusal.message, "code": refusal.code or code}
    return json_reply({"error": fault}, status=refusal.status)


def _glance_refusal(status: int, message: str, *, accept: str) -> web.Response:
    title = http.HTTPStatus(status).phrase
    if "application/json" in accept:
        # The line breaks are Glance's: it fills an HTML template and calls the outcome JSON.
        body = {"message": f"{message}<br /><br />\n\n\n", "code": f"{status} {title}", "title": title}
        return json_reply(body, status=status)
    return web.Response(text=f"{status} {title}\n\n{message}\n\n   ", status=status)


def cinder_time(at: float | None) -> str | None:
    """A time as Cinder writes it: UTC without saying so, whole seconds with six zeros behind them."""
    return None if at is None else datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S.000000")


def glance_time(at: float) -> str:
    """A time as Glance writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

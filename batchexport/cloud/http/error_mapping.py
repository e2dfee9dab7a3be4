"""Which of our errors an error response stands for. Pure: a table, and the few rules it cannot hold.

Only a request that changes something can have an unknown outcome. A 503 means that the service or the gateway
did not accept it; after any other 5xx it may have been carried out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from http import HTTPStatus

from batchexport.cloud.http.error_bodies import ErrorBody, read_error_body
from batchexport.cloud.http.responses import request_id_of, retry_after_s
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    FatalError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ThrottledError,
    TransientError,
    UnreachableError,
    VolumeStateError,
)
from batchexport.redaction import hide_secrets, hide_secrets_in_bytes, sanitize

#: Codes that say more than their HTTP status: EVS reports an expired token with 400, a full quota with 413.
KIND_OF_CODE: dict[str, type[CloudError]] = {
    **dict.fromkeys(("EVS.0002", "EVS.5401", "Common.0013", "APIG.0301", "APIG.0307"), AuthenticationError),
    # No permission: policies decide by resource, so it may be about one volume.
    **dict.fromkeys(("EVS.0003", "EVS.5403"), ForbiddenError),
    # The wrong project in the URL, an account that is frozen or suspended, an API that is not published.
    **dict.fromkeys(("EVS.0001", "Common.0018", "EVS.1027", "EVS.2056"), FatalError),
    **dict.fromkeys(("EVS.2144", "EVS.2145", "APIG.0101", "APIG.0302", "APIG.0304", "APIG.0306"), FatalError),
    **dict.fromkeys(("APIG.0310", "APIG.0802"), FatalError),
    **dict.fromkeys(("EVS.5413", "IMG.0015"), QuotaError),
    **dict.fromkeys(
        ("IMG.0008", "IMG.0010", "IMG.0022", "IMG.0110", "IMG.0148", "Ecs.0100"), VolumeStateError
    ),
    **dict.fromkeys(("IMG.0060", "IMG.0149", "IMG.0187", "Common.0024", "Common.1503"), ThrottledError),
    "APIG.0308": ThrottledError,
    "EVS.2143": RefusedError,  # a 401 about a key of the key management service, not about the token
}
KIND_OF_STATUS: dict[int, type[CloudError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    408: TransientError,  # the server received no complete request
    410: NotFoundError,
    413: ThrottledError,  # Cinder's "over limit"; our bodies are far too small for "content too large"
    429: ThrottledError,
    497: ThrottledError,  # Swift's limiter and its like
    498: ThrottledError,
    501: RefusedError,
    503: TransientError,
    505: RefusedError,
}
HINTS: tuple[tuple[type[CloudError], str], ...] = (
    (AuthenticationError, "check the credentials, and that project and region belong together"),
    (QuotaError, "delete images or have the project's image quota raised, then run the same command again"),
)

_RIGHTS = "ask for permission to export volumes of this project (EVS: evs:volumes:uploadImage)"
_READING_RIGHTS = "ask for permission to read and list volumes and images of this project"
_SERVER_RIGHTS = (
    "ask for permission to stop and start servers of this project"
    " (ECS: ecs:servers:stop, ecs:servers:start and ecs:cloudServers:*)"
)
_CALL_FAILED = re.compile("Connect call failed|Multiple exceptions")
#: Of requests that make and delete snapshots and volumes, not of exports, which are actions.
_STORAGE_PATH = re.compile(r"/((cloud)?snapshots|volumes)(/[^/]+)?$")
_STORAGE_QUOTA = (
    "delete snapshots or volumes, have the project's quota raised, or allow fewer temporary volumes at once"
    " (--max-temporary), then run the same command again"
)
_STORAGE_RIGHTS = (
    "ask for permission to make and delete snapshots and volumes of this project"
    " (EVS: evs:snapshots:* and evs:volumes:*)"
)
_SERVER_PATH = re.compile(r"/v[\d.]+/([^/]+/)?(cloud)?servers(/|\?|$)")
#: Cinder could not reach the image service: no image was made, and the volume is free again.
_UNREACHED_TEXT = re.compile(r"connection to glance failed|unable to establish connection", re.IGNORECASE)
_THROTTLE_TEXT = re.compile(
    r"\bthrottl(ed|ing)\b|\brate[- ]?(limit(ed|ing)?|exceeded)\b|too many requests", re.IGNORECASE
)
#: Of volumes, snapshots and gigabytes; Cinder sends "try again after 0 s" with these.
_FULL_TEXT = re.compile(r"quota|maximum number of|LimitExceeded|SizeExceeds", re.IGNORECASE)
_STATE_TEXT = re.compile(
    r"must be (one of )?'?available|must specify a valid status|(snapshot|volume|disk) is busy", re.IGNORECASE
)
#: Why a snapshot or volume cannot be deleted now: volumes depend on it, it is attached, it has snapshots.
_NEEDED_TEXT = re.compile(r"depend|in[ -]use|being used|attached|ha(s|ve) snapshots", re.IGNORECASE)
_QUOTA_TEXT = re.compile(r"\b413\b|over[ -]?(a |the )?limit|quota", re.IGNORECASE)
#: Cinder's schema errors quote the request, and an image may be named "quota".
_QUOTED_INPUT = re.compile(r"invalid input", re.IGNORECASE)


def error_from_response(
    *,
    method: str,
    url: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
    secrets: Collection[str] = (),
) -> CloudError:
    """The error that a response stands for, with the cloud's own message, without the `secrets` in it."""
    fault = read_error_body(hide_secrets_in_bytes(body, secrets))
    retry_after = headers.get("Retry-After") or headers.get("X-Retry-After") or fault.retry_after
    wait_s = retry_after_s(retry_after, now_s=now_s)
    kind = _kind(method, status, fault, rate_limited=bool(wait_s))
    if _SERVER_PATH.search(url):
        kind = _kind_for_server(kind)
    elif kind is RefusedError and method == "DELETE" and _STORAGE_PATH.search(url):
        kind = _kind_of_refused_deletion(status, fault)
    return kind(
        hide_secrets(_message(status, fault, headers), secrets),
        method=method,
        url=url,
        status=status,
        code=fault.code and hide_secrets(fault.code, secrets),
        request_id=request_id_of(headers) or (fault.request_id and hide_secrets(fault.request_id, secrets)),
        retry_after_s=wait_s,
        hint=_hint(kind, method, status, url),
    )


def error_from_no_response(
    *, method: str, url: str, cause: BaseException, sent: bool, via: str | None = None
) -> CloudError:
    """The error for a request without a response; `sent` = it may have reached the service.

    `via` names the proxy that it went through; None = none.
    """
    why = _reason(cause)
    if not sent:
        if via is not None:
            return UnreachableError(
                f"no connection through the {via}: {why}",
                method=method,
                url=url,
                hint="check the proxy, or except the cloud's hosts or networks from it with no_proxy",
            )
        return UnreachableError(
            f"no connection: {why}", method=method, url=url, hint=f"check the network and the endpoint {url}"
        )
    kind = TransientError if method == "GET" else OutcomeUnknownError
    words = "no response in time" if isinstance(cause, TimeoutError) else f"no response: {why}"
    return kind(words, method=method, url=url)


def _reason(cause: BaseException) -> str:
    """Why there is no response, without the internals of libraries."""
    inner = getattr(cause, "os_error", None) or getattr(cause, "certificate_error", None)
    host = getattr(cause, "host", None)
    if inner is None or host is None:
        return sanitize(str(cause)) or type(cause).__name__
    reason = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None) or str(inner)
    if inner.errno and _CALL_FAILED.match(reason):  # asyncio's words for what the system reported
        reason = os.strerror(inner.errno)
    return sanitize(f"{host}:{getattr(cause, 'port', '')}: {reason}")


def error_from_job(*, url: str, code: str | None, message: str) -> CloudError:
    """The error for a failed job of ECS."""
    kind = _kind_for_server(KIND_OF_CODE.get(code or "", RefusedError))
    words = sanitize(message) or (f"failed with code {code}" if code else "failed, no reason given")
    return kind(words, method="GET", url=url, code=code)


def _kind_for_server(kind: type[CloudError]) -> type[CloudError]:
    """An error about one server is not fatal: volumes of other servers can still be exported."""
    return RefusedError if kind in (VolumeStateError, FatalError, ForbiddenError) else kind


def _kind_of_refused_deletion(status: int, fault: ErrorBody) -> type[CloudError]:
    """A snapshot or a volume that something else needs can be deleted once that is over."""
    is_needed = status == 409 or (status == 400 and _NEEDED_TEXT.search(fault.message))
    return VolumeStateError if is_needed else RefusedError


def _kind(method: str, status: int, fault: ErrorBody, *, rate_limited: bool) -> type[CloudError]:
    by_code = KIND_OF_CODE.get((fault.code or "").replace("APIGW.", "APIG."))
    if by_code is not None and (status < 500 or by_code is ThrottledError):
        return by_code
    if status < 400:
        return FatalError  # a redirect: the endpoint is wrong for every request
    if status >= 500:
        unknown = method != "GET" and status not in KIND_OF_STATUS
        return OutcomeUnknownError if unknown else KIND_OF_STATUS.get(status, TransientError)
    return _kind_of_refusal(method, status, fault, rate_limited=rate_limited)


def _kind_of_refusal(method: str, status: int, fault: ErrorBody, *, rate_limited: bool) -> type[CloudError]:
    """For 4xx: decides by the message where the status says too little."""
    quota = bool(_QUOTA_TEXT.search(fault.message)) and not _QUOTED_INPUT.search(fault.message)
    if status == 400:
        return _kind_of_bad_request(method, fault, quota=quota)
    if status == 403 and "upload_public" in fault.message:
        return RefusedError  # only volumes that ask for a public image are refused
    if status == 409 and method == "POST":
        return VolumeStateError
    if status == 413 and fault.code == "APIG.0201":
        return RefusedError
    if status == 413 and _FULL_TEXT.search(fault.message) and not rate_limited:
        return QuotaError
    return KIND_OF_STATUS.get(status, RefusedError)


def _kind_of_bad_request(method: str, fault: ErrorBody, *, quota: bool) -> type[CloudError]:
    if _STATE_TEXT.search(fault.message):
        return VolumeStateError
    if not _QUOTED_INPUT.search(fault.message):
        if _UNREACHED_TEXT.search(fault.message):
            return TransientError
        if _THROTTLE_TEXT.search(fault.message):
            return ThrottledError
    if fault.code == "badRequest" and fault.message == "Malformed request url":
        return FatalError  # the project in the URL is not the token's
    # Cinder reports the image service's quota as a bad request.
    return QuotaError if quota and method == "POST" else RefusedError


def _message(status: int, fault: ErrorBody, headers: Mapping[str, str]) -> str:
    if 300 <= status < 400:
        return f"redirected to {sanitize(headers.get('Location', 'nowhere'))}; redirects are not followed"
    if fault.message:
        return fault.message
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "unknown status"
    return f"{status} {phrase}, no reason given" + (f" (code {fault.code})" if fault.code else "")


def _hint(kind: type[CloudError], method: str, status: int, url: str) -> str | None:
    if method != "GET" and _STORAGE_PATH.search(url):
        if issubclass(kind, QuotaError):
            return _STORAGE_QUOTA
        if issubclass(kind, ForbiddenError):
            return _STORAGE_RIGHTS
    for kind_with_hint, hint in HINTS:
        if issubclass(kind, kind_with_hint):
            return hint
    if 300 <= status < 400:
        return (
            f"set the endpoint to the service's new address (…_endpoint_override); the request went to {url}"
        )
    if status == 406:
        return "this cloud is too old for `visibility` and `protected`: remove them"
    if status == 403 and _SERVER_PATH.search(url):
        return _SERVER_RIGHTS
    if status != 403 or not issubclass(kind, FatalError):
        return None
    return _READING_RIGHTS if method == "GET" else _RIGHTS

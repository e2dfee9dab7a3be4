"""Who gets in: tokens, and the API gateway in front of EVS and IMS, which takes signatures too."""

from __future__ import annotations

import hashlib
import hmac
import uuid

from aiohttp import web
from aiohttp.typedefs import Handler

from batchexport.sandbox.responses import Refusal, Service, json_reply, service_of
from batchexport.sandbox.signatures import KeyLock, Signature, fault_of, read_signature
from batchexport.sandbox.state import STATE

#: Not a secret: anyone who can reach the sandbox may sign in to it.
TOKEN_KEY = b"sandbox"


def issue_token(*, expires_at: float, generation: int) -> str:
    """A token of this generation, different each time."""
    content = f"{generation}_{expires_at!r}_{uuid.uuid4().hex}"
    return f"{content}_{_keyed_hash(content)}"


def is_valid_token(token: str, *, now: float, generation: int) -> bool:
    """Whether the token is ours, of this generation, and has not expired."""
    content, _, signature = token.rpartition("_")
    if not hmac.compare_digest(signature.encode(errors="replace"), _keyed_hash(content).encode()):
        return False
    issued_in, expires_at, _ = content.split("_")
    return int(issued_in) == generation and now < float(expires_at)


def _keyed_hash(content: str) -> str:
    return hmac.new(TOKEN_KEY, content.encode(errors="replace"), hashlib.sha256).hexdigest()


NOT_PUBLISHED = "The API does not exist or has not been published in the environment"


@web.middleware
async def credentials_required(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets requests with a good signature or a valid token pass, and everybody sign in."""
    if service_of(request.path) is Service.IDENTITY:
        return await handler(request)
    if request.match_info.http_exception is not None:
        return gateway_reply(404, "APIGW.0101", NOT_PUBLISHED)
    if (signature := read_signature(request.headers)) is not None:
        refused = await _refused_signature(request, signature)
    else:
        refused = _refused_token(request)
    return refused or await handler(request)


def gateway_reply(status: int, code: str, message: str) -> web.Response:
    """A refusal by the gateway itself."""
    body = {"error_msg": message, "error_code": code, "request_id": uuid.uuid4().hex}
    return json_reply(body, status=status)


async def _refused_signature(request: web.Request, signature: Signature) -> web.Response | None:
    state = request.app[STATE]
    wrong = fault_of(signature, request, await request.read(), state.now())
    refusal = state.key_locks.setdefault(signature.access, KeyLock()).refusal(wrong, state.now())
    if refusal is None:
        return None
    state.counts["bad_signatures"] += 1
    return _not_authenticated(refusal)


def _refused_token(request: web.Request) -> web.Response | None:
    state = request.app[STATE]
    token = request.headers.get("X-Auth-Token", "")
    if not token:
        return _not_authenticated("x-auth-token not found")
    if is_valid_token(token, now=state.now(), generation=state.token_generation):
        return None
    if service_of(request.path) is Service.EVS:  # answers for itself, and with 400
        raise Refusal(400, "Authentication failed: the token is invalid.", code="EVS.0002")
    return _not_authenticated("decrypt token fail")


def _not_authenticated(why: str) -> web.Response:
    return gateway_reply(401, "APIGW.0301", f"Incorrect IAM authentication information: {why}")

"""Tokens: each carries its own times under a keyed hash, so it outlives a restart of the sandbox."""

from __future__ import annotations

import hashlib
import hmac
import uuid

#: Not a secret: whoever reaches the sandbox may also sign in to it.
TOKEN_KEY = b"sandbox"


def issue_token(issued_at: float, expires_at: float) -> str:
    """A token for these two times, different each time."""
    content = f"{issued_at!r}_{expires_at!r}_{uuid.uuid4().hex}"
    return f"{content}_{_keyed_hash(content)}"


def is_valid_token(token: str, *, now: float, since: float) -> bool:
    """Whether the token is ours, has not expired, and was not issued before `since`."""
    content, _, signature = token.rpartition("_")
    if not hmac.compare_digest(signature.encode(errors="replace"), _keyed_hash(content).encode()):
        return False
    issued_at, expires_at, _ = content.split("_")
    return since <= float(issued_at) and now < float(expires_at)


def _keyed_hash(content: str) -> str:
    return hmac.new(TOKEN_KEY, content.encode(errors="replace"), hashlib.sha256).hexdigest()

"""Tokens: each carries its own end under a keyed hash, so it outlives a restart of the sandbox."""

from __future__ import annotations

import hashlib
import hmac
import uuid

#: Not a secret: whoever reaches the sandbox may also sign in to it.
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

"""As whom we sign in: what messages may tell of it, and what they must never repeat. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: What stands in the place of a secret.
HIDDEN = "***"
#: Shorter ones are no secrets to anybody, and would be found in many innocent words.
_SHORTEST_SECRET = 4
_SECRET_NAMES = (
    "password",
    "token",
    "passcode",
    "application_credential_secret",
    "client_secret",
    "access_token",
    "secret_key",
    "sk",
    "security_token",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user and project of a sign-in, as far as the configuration names them, and its secrets."""

    user: str | None = None
    project: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, auth: Mapping[str, object]) -> Identity:
        """The identity that the values for keystoneauth describe."""
        return cls(
            user=_first(auth, ("username", "user_id", "application_credential_id")),
            project=_first(auth, ("project_name", "project_id", "tenant_name", "tenant_id")),
            secrets=tuple(str(auth[name]) for name in _SECRET_NAMES if auth.get(name)),
        )

    def __str__(self) -> str:
        named = (("user", self.user), ("project", self.project))
        return ", ".join(f"{kind} {name}" for kind, name in named if name) or "this account"


def hidden(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets: clouds that quote a request they cannot read quote the password too."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text


def hidden_in(body: bytes, secrets: Iterable[str]) -> bytes:
    """The same for the bytes of an answer."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            body = body.replace(secret.encode(), HIDDEN.encode())
    return body


def _first(values: Mapping[str, object], names: Iterable[str]) -> str | None:
    return next((str(values[name]) for name in names if values.get(name)), None)

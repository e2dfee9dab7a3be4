"""As whom we sign in: what messages may tell of it, and what they must never repeat. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from batchexport.redaction import redacted, register_secret, without

#: Names of values that are secrets themselves, whatever plug-in takes them.
_SECRET_NAME = re.compile(r"(.*_)?(password|passwd|passcode|secret|token|secret_key|sk)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user and project of a sign-in, as far as the configuration names them, and its secrets."""

    user: str | None = None
    project: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, auth: Mapping[str, object]) -> Identity:
        """The identity that the values for keystoneauth describe. Its secrets are redacted from now on."""
        secrets = secrets_in(auth)
        register_secret(*secrets)
        return cls(
            user=_first(auth, ("username", "user_id", "application_credential_id")),
            project=_first(auth, ("project_name", "project_id", "tenant_name", "tenant_id")),
            secrets=secrets,
        )

    def __str__(self) -> str:
        named = (("user", self.user), ("project", self.project))
        return ", ".join(f"{kind} {name}" for kind, name in named if name) or "this account"


def secrets_in(values: Mapping[str, object]) -> tuple[str, ...]:
    """The secrets among settings, by their names: those of every plug-in, `oauth2_client_secret` too."""
    found = {
        str(value)
        for name, value in values.items()
        if value and isinstance(value, str | int) and _SECRET_NAME.fullmatch(name.lower().replace("-", "_"))
    }
    return tuple(sorted(found))


def hidden(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets: clouds that quote a request they cannot read quote the password too."""
    return redacted(without(text, secrets))


def hidden_in(body: bytes, secrets: Iterable[str]) -> bytes:
    """The same for the bytes of an answer."""
    return hidden(body.decode(errors="surrogateescape"), secrets).encode(errors="surrogateescape")


def _first(values: Mapping[str, object], names: Iterable[str]) -> str | None:
    return next((str(values[name]) for name in names if values.get(name)), None)

"""Which cloud was signed in to, so that a state file can tell its own from any other. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

_VERSION = re.compile(r"v\d+(\.\d+)?")
_PROJECT_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class CloudIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One project in one region of one cloud, as found at sign-in; None = not told. Holds no secret."""

    cloud: str | None = None  #: its name in clouds.yaml, or `sandbox`
    region: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    identity_url: str | None = None  #: as `service_address` gives it
    block_storage_url: str | None = None  #: as `service_address` gives it
    is_sandbox: bool = False  #: the sandbox inside a command, not a real cloud

    @property
    def project(self) -> str | None:
        """The name of the project, or else its id."""
        return self.project_name or self.project_id

    def __str__(self) -> str:
        if self.is_sandbox:
            return "the sandbox"
        named = [self.cloud and f"cloud {self.cloud}", self.region and f"region {self.region}"]
        project = f"project {self.project_name} ({self.project_id})" if self.project_name else None
        if project is None and self.project_id:
            project = f"project {self.project_id}"
        address = self.identity_url or self.block_storage_url
        return ", ".join(filter(None, [*named, project, address and f"at {address}"])) or "a cloud unnamed"


#: The practice cloud, wherever it listens this time.
SANDBOX = CloudIdentity(cloud="sandbox", is_sandbox=True)


def service_address(url: str) -> str:
    """The address of a service in one form: without version, project, user, query and default port."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    try:
        port = parts.port
    except ValueError:
        port = None
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    path = [part for part in parts.path.split("/") if part]
    versions = [place for place, part in enumerate(path) if _VERSION.fullmatch(part)]
    if versions:
        path = path[: versions[-1]]
    elif path and _PROJECT_ID.fullmatch(path[-1]):
        path.pop()
    return "/".join([f"{scheme}://{host}", *path])


def difference(bound: CloudIdentity, found: CloudIdentity) -> str | None:
    """What differs: cloud, project, region or address; None = they are the same.

    The address counts as different only if those of both services differ: one of them may get another name.
    """
    if bound.is_sandbox or found.is_sandbox:
        return None if bound.is_sandbox and found.is_sandbox else "cloud"
    if _differ(bound.project_id, found.project_id):
        return "project"
    if _differ(bound.region, found.region):
        return "region"
    addresses = [(bound.identity_url, found.identity_url), (bound.block_storage_url, found.block_storage_url)]
    known = [before == now for before, now in addresses if before is not None and now is not None]
    return "address" if known and not any(known) else None


def _differ(before: str | None, now: str | None) -> bool:
    return before is not None and now is not None and before != now

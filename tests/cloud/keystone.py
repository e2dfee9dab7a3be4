"""An identity service on the scripted server, and the files that lead to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.cloud.scripted import Reply, ScriptedServer, Seen

PASSWORD = "correct-horse-battery"
PROJECT_ID = "c344706a7e90438994fbf96c2c9627bd"


class Keystone:
    """Signs in whoever knows the password; answers everything else with `service`."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.requests: list[Any] = []
        self.refusal: Reply | None = None
        self.project_name: str | None = "demo"
        self.clock_off_s = 0.0
        self.probed = Reply(200, {"images": []})  # to the first look at the image service
        self.service = Reply(200, {"volumes": [], "images": []})
        self.catalog: list[tuple[str, str]] | None = [("volumev3", f"{server.url}/v3"), ("image", server.url)]
        server.answers(self.answer)

    def answer(self, seen: Seen) -> Reply:
        if seen.path == "/identity/v3":
            return Reply(200, self._version())
        if seen.path == "/identity/v3/auth/tokens":
            return self._sign_in(json.loads(seen.body)["auth"])
        if seen.path.endswith("/images?limit=1"):
            return self.probed
        return self.service

    def _version(self) -> dict[str, object]:
        links = [{"rel": "self", "href": f"{self.server.url}/identity/v3/"}]
        return {"version": {"id": "v3.14", "status": "stable", "links": links}}

    def _sign_in(self, auth: Mapping[str, object]) -> Reply:
        self.requests.append(auth)
        if self.refusal is not None:
            return self.refusal
        if PASSWORD not in json.dumps(auth):
            return Reply(401, {"error": {"code": 401, "message": "Wrong password.", "title": "Unauthorized"}})
        return Reply(201, {"token": self._token()}, {"X-Subject-Token": f"tok-{len(self.requests)}"})

    def _token(self) -> dict[str, object]:
        issued = datetime.now(UTC) + timedelta(seconds=self.clock_off_s)
        token: dict[str, object] = {
            "methods": ["password"],
            "user": {"id": "u", "name": "demo", "domain": {"id": "default", "name": "Default"}},
            "issued_at": issued.isoformat(),
            "expires_at": (issued + timedelta(hours=1)).isoformat(),
        }
        if self.catalog is not None:
            token["catalog"] = [self._service(kind, url) for kind, url in self.catalog]
        if self.project_name:
            domain = {"id": "default", "name": "Default"}
            token["project"] = {"id": PROJECT_ID, "name": self.project_name, "domain": domain}
        return token

    def _service(self, kind: str, url: str) -> dict[str, object]:
        endpoint = {"id": kind, "interface": "public", "region": "R1", "region_id": "R1", "url": url}
        return {"type": kind, "id": kind, "name": kind, "endpoints": [endpoint]}


def clouds_yaml(folder: Path, auth_url: str, **more: object) -> Path:
    """A clouds.yaml with the cloud `one`, and `other` beside it."""
    one = {
        "region_name": "R1",
        "auth": {
            "auth_url": auth_url,
            "username": "demo",
            "password": PASSWORD,
            "project_name": "demo",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
    }
    path = folder / "clouds.yaml"
    path.write_text(yaml.safe_dump({"clouds": {"one": one | more, "other": {"auth": {}}}}))
    return path

"""A bare HTTP client for the sandbox: it knows paths and tokens, and nothing of what it asks for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from batchexport.sandbox import Sandbox, SandboxSettings, serve
from batchexport.sandbox.settings import PROJECT_ID

VOLUME = "0b9f7d0c-6f5d-4c43-9c58-8f1f2f6f2a01"
OTHER_VOLUME = "0b9f7d0c-6f5d-4c43-9c58-8f1f2f6f2a02"
START = 1_800_000_000.0

V3 = f"/volume/v3/{PROJECT_ID}"
V2 = f"/volume/v2/{PROJECT_ID}"
IMAGES = "/image/v2/images"
ACTION = "os-volume_upload_image"
NEWEST = {"OpenStack-API-Version": "volume 3.71"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Asker:
    """A signed-in client. Asking takes no time by the sandbox's clock."""

    sandbox: Sandbox
    session: aiohttp.ClientSession
    clock: Clock
    token: str = ""

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        headers = {"X-Auth-Token": self.token} | options.pop("headers", {})
        async with self.session.request(
            method, self.sandbox.url + path, headers=headers, **options
        ) as response:
            return Answer(response.status, response.headers.copy(), await response.text())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def act(self, body: object, *, volume_id: str = VOLUME, api: str = V3, **options: Any) -> Answer:
        return await self.ask("POST", f"{api}/volumes/{volume_id}/action", json=body, **options)

    async def export(self, name: str = "an-image", *, volume_id: str = VOLUME, **options: Any) -> Answer:
        """Ask for an export with these options, by the newest microversion."""
        body = {ACTION: {"image_name": name, **options}}
        return await self.act(body, volume_id=volume_id, headers=NEWEST)

    async def exported(self, name: str = "an-image", **options: Any) -> str:
        """The image id of an export that has to be accepted."""
        answer = await self.export(name, **options)
        assert answer.status == 202, answer.text
        return str(answer.json[ACTION]["image_id"])

    async def sign_in(self, **auth: Any) -> Answer:
        return await self.ask("POST", "/identity/v3/auth/tokens", json={"auth": auth})


def by_password(password: str = "sandbox", user: str = "demo") -> dict[str, Any]:
    account = {"name": user, "password": password, "domain": {"name": "Default"}}
    return {"methods": ["password"], "password": {"user": account}}


@asynccontextmanager
async def asking(settings: SandboxSettings | None = None) -> AsyncIterator[Asker]:
    """A client signed in to a sandbox of its own."""
    clock = Clock()
    async with serve(settings, now=clock) as sandbox, aiohttp.ClientSession() as session:
        asker = Asker(sandbox, session, clock)
        asker.token = (await asker.sign_in(identity=by_password())).headers["X-Subject-Token"]
        yield asker

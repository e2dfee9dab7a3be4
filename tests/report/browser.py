"""A headless Chromium, spoken to over its debugging socket: enough to open a page and ask it things."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "about:blank",
]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")


def axe_source() -> str | None:
    """The checker of accessibility, from AXE_CORE or where npm put it; None where there is none."""
    named = os.environ.get("AXE_CORE")
    folders = [Path("node_modules"), Path("/usr/lib/node_modules"), Path("/usr/local/lib/node_modules")]
    files = [Path(named)] if named else [folder / "axe-core" / "axe.min.js" for folder in folders]
    return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), None)


class Page:
    """One tab. `requests` are the addresses it asked for, `complaints` what its console said."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.saved: str | None = None  # the name of a file that was downloaded
        self._saving: str | None = None
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **values: Any) -> dict[str, Any]:
        """The answer to one command; what happens meanwhile is noted."""
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": values})
        return await self._read(lambda message: message.get("id") == number)

    async def open(self, address: str) -> None:
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=address)
        await self._read(lambda message: message.get("method") == "Page.loadEventFired")

    async def ask(self, script: str) -> Any:
        """What the script comes to; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")

    async def look_like(self, *, width: int, scheme: str, media: str = "screen") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme_of_user = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", media=media, features=[scheme_of_user])

    async def picture(self) -> bytes:
        """All of the page as PNG."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["result"]["data"])

    async def save(self, selector: str, folder: Path) -> str:
        """Click what saves a file; the name under which it is in the folder then."""
        await self.call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True
        )
        await self.ask(f"document.querySelector({selector!r}).click()")
        while self.saved is None:  # it may have begun, or even ended, before the click was answered
            self._note(await self._read(lambda message: message.get("method") == "Browser.downloadProgress"))
        return self.saved

    async def _read(self, wanted: Any) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = await self._socket.receive_json(timeout=30)
            if wanted(message):
                return message
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        values = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])
            case "Browser.downloadWillBegin":
                self._saving = str(values["suggestedFilename"])
            case "Browser.downloadProgress" if values["state"] == "completed":
                self.saved = self._saving
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.complaints.append(str(values))


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """A tab of a browser of its own, ended with it."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *QUIET, f"--user-data-dir={folder}", stdout=DEVNULL, stderr=PIPE
    )
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            async with http.get(f"http://127.0.0.1:{await _port(process)}/json/list") as answer:
                tabs = await answer.json()
            (tab,) = [tab for tab in tabs if tab["type"] == "page"]
            async with http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await process.communicate()


async def _port(process: asyncio.subprocess.Process) -> int:
    """The port it tells on stderr: DevTools listening on ws://127.0.0.1:PORT/…"""
    assert process.stderr is not None
    while line := await process.stderr.readline():
        if found := re.search(rb"listening on ws://[^:]+:([0-9]+)/", line):
            return int(found[1])
    raise AssertionError("chromium ended before it listened")

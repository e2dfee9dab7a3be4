"""The flaky cloud from the outside: a process to start and stop, and what it remembers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from batchexport.sandbox.state import DECODER
from batchexport.sandbox.world import Event, Export
from tests.crash.flaky_cloud import CLOUDS, COUNTS, JOURNAL, REQUESTS, WITHOUT_ANSWER, Fate

ROOT = Path(__file__).parents[2]
START_S = 120.0


@dataclass(frozen=True, slots=True)
class LiveImage:
    """An image as the image service lists it."""

    image_id: str
    name: str
    status: str


class FlakyCloud:
    """A running cloud that outlives its clients."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self._process = process

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {"OS_CLIENT_CONFIG_FILE": str(self._folder / CLOUDS), "OS_CLOUD": "sandbox"}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """No answer to anything, as long as the context lasts; what was asked meanwhile is answered then."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def events(self) -> list[Event]:
        """Everything that was ever accepted, by whomever it was sent, in order."""
        path = self._folder / JOURNAL
        lines = path.read_bytes().split(b"\n")[:-1]  # the last one may be under way
        return [DECODER.decode(line) for line in lines]

    def exports(self) -> list[Export]:
        """Every export that was ever accepted from our client, in order."""
        exports = (event for event in self.events() if isinstance(event, Export))
        return [export for export in exports if export.made_by == "client"]

    def stop(self) -> Counter[str]:
        """End it; how often each kind of request came, and each fault of the weather struck."""
        self._process.terminate()
        self._process.wait(20)
        path = self._folder / COUNTS
        return Counter(json.loads(path.read_text()) if path.exists() else {})

    def requests(self) -> list[tuple[str, Fate]]:
        """Every change that reached it, as its subject and what became of it, in order."""
        path = self._folder / REQUESTS
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line["subject"], Fate(line["fate"])) for line in map(json.loads, lines)]

    def lost_answers(self) -> int:
        """How many changes were asked for without an answer that tells the truth."""
        return sum(fate in WITHOUT_ANSWER for _, fate in self.requests())

    def images(self) -> list[LiveImage]:
        """Every image that is there now, as its image service tells it."""
        origin = _origin(self._folder / CLOUDS)
        token = _token(origin)
        found: list[LiveImage] = []
        path = "/v2/images?limit=1000"
        while path:
            page = _get(f"{origin}/image{path}", token)
            found += [LiveImage(each["id"], each["name"], each["status"]) for each in page["images"]]
            path = page.get("next", "")
        return found


@contextmanager
def flaky_cloud(folder: Path, *arguments: str) -> Iterator[FlakyCloud]:
    """A flaky cloud whose files are in `folder`, with these arguments of its program."""
    command = [sys.executable, "-m", "tests.crash.flaky_cloud", "--folder", str(folder), *arguments]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            _wait_for(folder / CLOUDS, process)
            yield FlakyCloud(folder, process)
        finally:
            process.terminate()


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the cloud did not start (exit code {process.returncode})")
        time.sleep(0.02)


def _origin(clouds: Path) -> str:
    (line,) = (line for line in clouds.read_text().splitlines() if "auth_url:" in line)
    return line.split("auth_url:")[1].strip().removesuffix("/identity/v3")


def _token(origin: str) -> str:
    user = {"name": "demo", "password": "sandbox", "domain": {"name": "Default"}}
    scope = {"project": {"name": "demo", "domain": {"name": "Default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    body = msgspec.json.encode({"auth": auth})
    url = f"{origin}/identity/v3/auth/tokens"
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with _open(asked) as answer:
        return str(answer.headers["X-Subject-Token"])


def _get(url: str, token: str) -> Any:
    for _ in range(10):  # the cloud is flaky here too
        try:
            with _open(urllib.request.Request(url, headers={"X-Auth-Token": token})) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
    raise RuntimeError(f"{url}: no answer")


def _open(asked: urllib.request.Request) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=20)

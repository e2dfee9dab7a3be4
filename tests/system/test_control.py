"""A running run is talked to over a real socket, by its own user alone."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchexport import control_socket
from batchexport.app.control import Answer, Request, RunControl, ask, controlled
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.config import Settings
from batchexport.engine import Controls
from batchexport.errors import StateError
from batchexport.model import ExportOrder

NOBODY = 65534


def contents(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


class Run:
    """What a run shows of itself to whoever talks to it."""

    def __init__(self, state_path: Path) -> None:
        self.state_path = state_path
        self.controls = Controls(Settings())
        self.limiters = [RateLimiter(5.0)]
        self.drained = 0
        self.changes = 0
        self.controls.listen(self._changed)
        self.control = RunControl(self.controls, self.limiters, requests_per_second=5.0, drain=self._drain)

    def _changed(self) -> None:
        self.changes += 1

    def _drain(self) -> None:
        self.drained += 1

    async def ask(self, request: Request) -> Answer:
        return await asyncio.to_thread(ask, self.state_path, request)


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    run = Run(tmp_path / "v.state")
    async with controlled(run.state_path, run.control):
        yield run


async def test_it_is_paused_and_continued_and_says_how_it_stands(run: Run) -> None:
    assert (await run.ask(Request(action="pause"))).is_paused
    assert run.controls.max_gib_at(0.0) == 0
    assert (await run.ask(Request(action="show"))).is_paused
    assert not (await run.ask(Request(action="continue"))).is_paused
    assert run.controls.max_gib_at(0.0) is None
    assert run.changes == 2, "to look changes nothing"


async def test_limits_and_order_change_at_once(run: Run) -> None:
    answer = await run.ask(Request(action="limits", max_exports=7, requests_per_second=2.0))
    assert (answer.max_exports, run.controls.max_exports, run.limiters[0].rate) == (7, 7, 2.0)
    answer = await run.ask(Request(action="limits", requests_per_second=0.0))
    assert (answer.max_exports, run.limiters[0].rate) == (7, 0.0)
    await run.ask(Request(action="order", order=ExportOrder.LIST))
    assert run.controls.order is ExportOrder.LIST


async def test_a_rate_that_the_cloud_taught_stays_where_it_is_lower(run: Run) -> None:
    run.limiters[0].start_at(1.5)
    await run.ask(Request(action="limits", requests_per_second=3.0))
    assert run.limiters[0].rate == 1.5


async def test_it_is_drained(run: Run) -> None:
    assert (await run.ask(Request(action="drain"))).is_draining
    assert run.drained == 1


@pytest.mark.parametrize(
    "request_", [Request(action="limits", max_exports=0), Request(action="limits", requests_per_second=-1.0)]
)
async def test_nonsense_is_refused_and_changes_nothing(run: Run, request_: Request) -> None:
    with pytest.raises(StateError, match="refused"):
        await run.ask(request_)
    assert run.changes == 0


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b'{"action": "explode"}\n', b'{"action": "show", "x": 1}\n', b"\xff" * 99 + b"\n"],
)
async def test_what_is_no_request_is_answered_with_what_is_wrong(run: Run, line: bytes) -> None:
    def send() -> bytes:
        with control_socket.connected(run.state_path, timeout_s=5.0) as connection:
            connection.sendall(line)
            return connection.makefile("rb").readline()

    assert b"not understood" in await asyncio.to_thread(send)
    assert (await run.ask(Request(action="show"))).error is None


async def test_a_line_without_end_ends_nothing_but_its_connection(run: Run) -> None:
    def send() -> bytes:
        with control_socket.connected(run.state_path, timeout_s=5.0) as connection:
            try:
                connection.sendall(b"x" * 1_000_000)
                return connection.recv(10)
            except OSError:
                return b""

    assert await asyncio.to_thread(send) == b""
    assert not (await run.ask(Request(action="show"))).is_paused


async def test_folder_and_socket_are_private_and_gone_afterwards(tmp_path: Path) -> None:
    run = Run(tmp_path / "v.state")
    before = os.umask(0)
    try:
        async with controlled(run.state_path, run.control):
            folder = control_socket.folder_of(run.state_path)
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert [stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()] == [0o600]
    finally:
        os.umask(before)
    assert contents(tmp_path) == []


async def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    run = Run(folder / "v.state")
    async with controlled(run.state_path, run.control):
        assert (await run.ask(Request(action="show"))).max_exports == 40


async def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "v.state"
    control_socket.listening(path).close()  # as after kill -9: its file is there, and nobody listens
    with pytest.raises(StateError, match="killed"):
        ask(path, Request(action="show"))
    run = Run(path)
    async with controlled(path, run.control):
        assert not (await run.ask(Request(action="show"))).is_paused


def test_where_no_run_works_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no run is working on it"):
        ask(tmp_path / "v.state", Request(action="show"))


async def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    run = Run(tmp_path / "v.state")
    folder = control_socket.folder_of(run.state_path)
    folder.mkdir()
    folder.chmod(0o777)
    async with controlled(run.state_path, run.control):
        assert list(folder.iterdir()) == [], "the run goes on without"
        with pytest.raises(StateError, match="no private folder"):
            await run.ask(Request(action="show"))


async def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    run = Run(tmp_path / "v.state")
    control_socket.folder_of(run.state_path).symlink_to(tmp_path / "elsewhere")
    async with controlled(run.state_path, run.control):
        assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_another_user_is_not_listened_to_even_where_the_doors_are_open(run: Run) -> None:
    folder = control_socket.folder_of(run.state_path)
    folder.chmod(0o755)
    (folder / "socket").chmod(0o666)
    for part in (run.state_path.parent, *run.state_path.parent.parents):
        if part != Path("/") and str(part).startswith("/tmp/"):
            part.chmod(part.stat().st_mode | 0o055)
    script = (
        "import os, socket, sys; os.setuid(int(sys.argv[2]))\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(5)\n"
        "try:\n"
        '    s.sendall(b\'{"action": "pause"}\\n\'); print(s.recv(99))\n'
        "except ConnectionError: print(b'')"
    )
    words = [sys.executable, "-c", script, str(folder / "socket"), str(NOBODY)]
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=True)
    assert done.stdout == "b''\n"
    assert not run.controls.is_paused
    folder.chmod(0o700)


async def test_a_run_in_a_database_is_left_alone(tmp_path: Path) -> None:
    from batchexport.store.postgres.reference import DatabasePath

    run = Run(tmp_path / "v.state")
    async with controlled(DatabasePath("postgresql://host/base/run"), run.control):
        assert contents(tmp_path) == []

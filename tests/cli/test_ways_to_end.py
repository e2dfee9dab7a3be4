"""Every way in which a run can be ended while a server is down for it: the server is up again afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from batchexport.errors import BatchExportError
from batchexport.model import ResourceState
from batchexport.sandbox import SandboxServer
from batchexport.store import StateReader
from tests.attack.program import DRIVERS
from tests.attack.test_full_disk import fill
from tests.cli.served import IDS, served, volumes

SERVER = "aaaaaaaa-0000-4000-8000-000000000000"
RUN = ("run", "list.csv", "--os-cloud", "served", "--requests-per-second", "0", "--poll-interval", "0.1")
STOP = ("--in-use", "stop", "--yes")


def afoot(path: str | Path = "list.state") -> Any:
    try:
        with StateReader(Path(path)) as reader:
            return [server.state for server in reader.overview().servers]
    except BatchExportError:  # not made yet, or just being made
        return []


def wait_until(what: Any, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert process.poll() is None, process.returncode
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def starting(*more: Any, program: Sequence[str] = ("-m", "batchexport"), **streams: Any) -> Any:
    words = [sys.executable, *program, *RUN, *STOP, *more]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, **streams)


def ended(process: subprocess.Popen[Any]) -> int:
    """The exit code, once it is over, and whether everything is up again."""
    try:
        code = process.wait(60)
    finally:
        process.kill()
    assert afoot() == []
    return code


@pytest.fixture
def cloud(request: pytest.FixtureRequest) -> Iterator[Any]:
    Path("list.csv").write_text("\n".join(["volume_id", IDS[0], IDS[1]]) + "\n")
    server = SandboxServer(server_id=SERVER, name="web", volume_ids=IDS[:2])
    # A stop takes half a second, a copy two (or what the test asks for): long enough to be met in the middle.
    time_scale = getattr(request, "param", 0.05)
    with served(*volumes(), servers=(server,), force_upload=True, time_scale=time_scale) as sandbox:
        yield sandbox


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131), (signal.SIGTERM, 143)],
)
def test_a_signal_brings_up_what_is_down(cloud: Any, number: int, code: int) -> None:
    with starting(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: ResourceState.HELD in afoot(), process)
        process.send_signal(number)
        assert ended(process) in (0, code)


@pytest.mark.slow
def test_nohup_outlives_its_terminal(cloud: Any) -> None:
    command = ["nohup", sys.executable, "-m", "batchexport", *RUN, *STOP]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: ResourceState.HELD in afoot(), process)
        process.send_signal(signal.SIGHUP)
        assert ended(process) == 0
    with StateReader(Path("list.state")) as reader:
        assert [job.state for job in reader.jobs()] == ["succeeded"] * 2


@pytest.mark.slow
def test_a_closed_terminal_brings_up_what_is_down(cloud: Any) -> None:
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with starting(stdout=theirs, stderr=theirs, preexec_fn=take_terminal) as process:
        os.close(theirs)
        wait_until(lambda: ResourceState.HELD in afoot(), process)
        os.close(ours)
        assert ended(process) in (0, 129)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_broken_pipe_changes_nothing(cloud: Any, broken: Any) -> None:
    pipes = {name: os.pipe() for name in broken}
    streams = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    with starting(**streams | {name: write_end for name, (_, write_end) in pipes.items()}) as process:
        for read_end, write_end in pipes.values():
            os.close(write_end)
            os.close(read_end)
        assert ended(process) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk that can be filled needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def is_up(cloud: Any) -> Any:
    (view,) = cloud._state.world.servers.servers(time.time())
    return view.status == "ACTIVE"


def copies(cloud: Any) -> Any:
    return [view.status for view in cloud._state.world.images(time.time())]


@pytest.mark.slow
@pytest.mark.parametrize(("cloud", "has_ended"), [(0.05, True), (0.2, False)], indirect=["cloud"])
def test_a_full_disk_leaves_no_server_down_whose_copies_have_ended(
    cloud: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch, has_ended: Any
) -> None:
    path = small_disk / "list.state"
    more = ("--state", str(path), "--poll-interval", "5" if has_ended else "0.1")
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    monkeypatch.setenv("GRACE_S", "0.5")
    with starting(*more, program=[str(DRIVERS / "short_grace.py")], **streams) as process:
        wait_until(lambda: len(copies(cloud)) == 2, process)
        if has_ended:
            wait_until(lambda: copies(cloud) == ["active"] * 2, process)
        filler = fill(small_disk)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 74, said
    assert "web" in said.splitlines()[-1]
    assert f"`batchexport servers {path} --start --os-cloud served` starts what is free" in said
    # Copies that were still under way may have ended before the process did: then it asked for a start, too.
    was_asked = "servers asked to start, not seen up" in said
    assert was_asked or not has_ended
    wait_for(lambda: copies(cloud) == ["active"] * 2 and is_up(cloud) == was_asked)
    filler.unlink()
    again = ("--state", str(path))
    with starting(*again, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        # Nothing could be kept of when the exports ended: a server that was started may have run before.
        assert process.wait(120) == (3 if was_asked else 0)
    assert (afoot(path), is_up(cloud)) == ([], True)

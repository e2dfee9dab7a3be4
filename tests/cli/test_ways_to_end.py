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
from pathlib import Path

import pytest

from batchexport.model import ServerState
from batchexport.sandbox import SandboxServer
from batchexport.store import StateReader
from tests.cli.served import IDS, served, volumes

SERVER = "aaaaaaaa-0000-4000-8000-000000000000"
RUN = ("run", "list.csv", "--os-cloud", "served", "--requests-per-second", "0", "--poll-interval", "0.1")
STOP = ("--in-use", "stop", "--yes")


def afoot():
    try:
        with StateReader(Path("list.state")) as reader:
            return [server.state for server in reader.servers()]
    except Exception:  # not made yet, or just being made
        return []


def wait_until(what, process):
    deadline = time.monotonic() + 60
    while not what():
        assert process.poll() is None, process.returncode
        assert time.monotonic() < deadline
        time.sleep(0.02)


def starting(**streams):
    words = [sys.executable, "-m", "batchexport", *RUN, *STOP]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, **streams)


def ended(process):
    """The exit code, once it is over, and whether everything is up again."""
    try:
        code = process.wait(60)
    finally:
        process.kill()
    assert afoot() == []
    return code


@pytest.fixture
def cloud():
    Path("list.csv").write_text("\n".join(["volume_id", IDS[0], IDS[1]]) + "\n")
    server = SandboxServer(server_id=SERVER, name="web", volume_ids=IDS[:2])
    # A stop takes half a second, a copy two: long enough to be met in the middle.
    with served(*volumes(), servers=(server,), force_upload=True, time_scale=0.05) as sandbox:
        yield sandbox


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131), (signal.SIGTERM, 143)],
)
def test_a_signal_brings_up_what_is_down(cloud, number, code):
    with starting(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: ServerState.DOWN in afoot(), process)
        process.send_signal(number)
        assert ended(process) in (0, code)


@pytest.mark.slow
def test_nohup_outlives_its_terminal(cloud):
    command = ["nohup", sys.executable, "-m", "batchexport", *RUN, *STOP]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: ServerState.DOWN in afoot(), process)
        process.send_signal(signal.SIGHUP)
        assert ended(process) == 0
    with StateReader(Path("list.state")) as reader:
        assert [job.state for job in reader.jobs()] == ["succeeded"] * 2


@pytest.mark.slow
def test_a_closed_terminal_brings_up_what_is_down(cloud):
    ours, theirs = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with starting(stdout=theirs, stderr=theirs, preexec_fn=take_terminal) as process:
        os.close(theirs)
        wait_until(lambda: ServerState.DOWN in afoot(), process)
        os.close(ours)
        assert ended(process) in (0, 129)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_broken_pipe_changes_nothing(cloud, broken):
    pipes = {name: os.pipe() for name in broken}
    streams = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    with starting(**streams | {name: write_end for name, (_, write_end) in pipes.items()}) as process:
        for read_end, write_end in pipes.values():
            os.close(write_end)
            os.close(read_end)
        assert ended(process) == 0

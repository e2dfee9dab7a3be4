"""An identity service that takes connections and says nothing: signals are heeded, and there is an end."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.attack.program import Program, environment, finish, until, write_list


class Mute:
    """Takes connections, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v3"
        self.taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread in `accept`
        self._thread.join()
        for each in (self._socket, *self.taken):
            each.close()


@pytest.fixture
def mute() -> Iterator[Mute]:
    service = Mute()
    yield service
    service.close()


def program(folder: Path, mute: Mute, *, by: str) -> Program:
    """One that signs in by clouds.yaml, or by variables alone."""
    auth = {
        "auth_url": mute.url,
        "username": "u",
        "password": "s3cret-word",
        "project_name": "p",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    write_list(folder / "v.csv", 2)
    if by == "file":
        (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"one": {"auth": auth}}}))
        return Program(folder=folder, env=environment(folder, OS_CLOUD="one"))
    return Program(
        folder=folder, env=environment(folder, **{f"OS_{name.upper()}": text for name, text in auth.items()})
    )


@pytest.mark.parametrize("by", ["file", "variables"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_a_run_that_hangs_in_its_sign_in(
    tmp_path: Path, mute: Mute, by: str, number: signal.Signals
) -> None:
    process = program(tmp_path, mute, by=by).start("run", "v.csv")
    until(lambda: mute.taken)
    began = time.monotonic()
    process.send_signal(number)
    ended = finish(process, within_s=12.0)
    assert time.monotonic() - began < 12.0
    assert ended.code == 128 + number
    assert number.name in ended.err


@pytest.mark.parametrize("command", ["doctor", "discover"])
def test_ctrl_c_ends_a_command_that_hangs_in_its_sign_in(tmp_path: Path, mute: Mute, command: str) -> None:
    process = program(tmp_path, mute, by="file").start(command)
    until(lambda: mute.taken)
    process.send_signal(signal.SIGINT)
    ended = finish(process, within_s=6.0)
    assert ended.code == 130
    assert "interrupted" in ended.err

"""A line to a server that can be cut at the worst moment."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Line:
    """Passes bytes on between a port of its own and a server's.

    `lose_commit("answer")` lets the next COMMIT through and cuts the line in the place of its answer,
    `lose_commit("request")` cuts it instead of passing the COMMIT on.
    """

    def __init__(self, port: int) -> None:
        self.to = port  #: the server's, which may become another's
        self._lost: str | None = None
        self._cut = False
        self.losses = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread in `accept`
        self._threads[0].join()
        self.cut()
        for thread in self._threads[1:]:
            thread.join()
        for end in (self._listener, *self._open):
            end.close()

    def lose_commit(self, what: str) -> None:
        """Lose the answer to the next COMMIT, or the request."""
        self._lost = what

    def cut(self) -> None:
        """Cut every connection that is open, and refuse new ones until `mend`."""
        self._cut = True
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let new connections through again."""
        self._cut = False

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._cut:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self.to))
                except OSError:  # there is no server now
                    client.close()
                    continue
                self._open += [client, server]
                lost = threading.Event()
                for one, other, is_request in ((client, server, True), (server, client, False)):
                    ways = (one, other, is_request, lost)
                    self._threads.append(threading.Thread(target=self._pass, args=ways, daemon=True))
                    self._threads[-1].start()

    def _pass(
        self, one: socket.socket, other: socket.socket, is_request: bool, lost: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if is_request and self._lost is not None and b"COMMIT" in data:
                    what, self._lost = self._lost, None
                    self.losses += 1
                    if what == "request":
                        break
                    lost.set()
                elif not is_request and lost.is_set():
                    break
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

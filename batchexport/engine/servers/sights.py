"""What was seen of servers, and since when: the memory between two looks."""

from __future__ import annotations

import asyncio

from batchexport.engine.servers.moves import Fit, Sight, fit_of
from batchexport.model import Server, ServerState
from batchexport.store import AfootServer


class ServerSights:
    """Remembers since when each server is in its state, and looks as it does. Times are those of the loop."""

    def __init__(self) -> None:
        self._in_state: dict[str, tuple[ServerState, float]] = {}
        self._seen: dict[str, tuple[Server | None, float]] = {}
        self._seen_down: set[str] = set()  # since they were last to be asked to stop

    def of(self, server: AfootServer, seen: Server | None, *, wanted: bool, may_ask: bool) -> Sight:
        """The server as it is seen now, with what is remembered of it."""
        server_id, loop_now = server.server_id, asyncio.get_running_loop().time()
        if self._in_state.get(server_id, (None, 0.0))[0] is not server.state:
            self._in_state[server_id] = (server.state, loop_now)
        if server_id not in self._seen or self._seen[server_id][0] != seen:
            self._seen[server_id] = (seen, loop_now)
        if server.state is ServerState.DOWN or fit_of(seen) is Fit.OFF:
            self._seen_down.add(server_id)
        return Sight(
            server=seen,
            wanted=wanted,
            may_ask=may_ask,
            in_state_s=loop_now - self._in_state[server_id][1],
            same_s=loop_now - self._seen[server_id][1],
            seen_down=server_id in self._seen_down,
        )

    def status(self, server_id: str) -> str:
        """The cloud's words for how it was seen last."""
        seen, _ = self._seen.get(server_id, (None, 0.0))
        if seen is None:
            return "unknown"
        return f"{seen.status} ({seen.task})" if seen.task else seen.status

    def forget(self, server_id: str) -> None:
        """It is up, or to be stopped anew."""
        self._in_state.pop(server_id, None)
        self._seen.pop(server_id, None)
        self._seen_down.discard(server_id)

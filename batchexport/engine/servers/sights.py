"""What was seen of servers, and since when: the memory between two looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from batchexport.engine.servers.moves import Fit, Sight, fit_of
from batchexport.model import Server, ServerState
from batchexport.store import AfootServer


class ServerSights:
    """Remembers since when each server is in its state, and looks as it does. Times are those of the loop."""

    def __init__(self) -> None:
        self._in_state: dict[str, tuple[ServerState, float]] = {}
        self._seen: dict[str, tuple[Server | None, float]] = {}
        self._seen_down: set[str] = set()  # since they were last to be asked to stop
        self._missing_since: dict[str, float] = {}
        self._left_down: set[str] = set()
        # When their records were last updated, by the records that showed them running before they were down,
        # and by the latest ones that showed them down.
        self._ran_by: dict[str, float] = {}
        self._off_by: dict[str, float] = {}

    def take_over(self, server_ids: Iterable[str]) -> None:
        """These were left down by an earlier process: whoever started them meanwhile disturbed no export."""
        self._left_down.update(server_ids)

    def stopping(self, server: Server) -> None:
        """It is about to be asked to stop, and was seen like this."""
        self.forget(server.server_id)
        if server.updated_at is not None:
            self._ran_by[server.server_id] = server.updated_at

    def of(self, server: AfootServer, seen: Server | None, *, wanted: bool, may_ask: bool) -> Sight:
        """The server as it is seen now, with what is remembered of it."""
        server_id, loop_now = server.server_id, asyncio.get_running_loop().time()
        if self._in_state.get(server_id, (None, 0.0))[0] is not server.state:
            self._in_state[server_id] = (server.state, loop_now)
        same = None if seen is None else replace(seen, updated_at=None)
        if server_id not in self._seen or self._seen[server_id][0] != same:
            self._seen[server_id] = (same, loop_now)
        fit = fit_of(seen)
        if seen is not None and seen.updated_at is not None:
            self._note_update(server, fit, seen.updated_at)
        if server.state is ServerState.DOWN or fit is Fit.OFF:
            self._seen_down.add(server_id)
        if fit is Fit.OFF:
            self._left_down.discard(server_id)
        if fit is Fit.MISSING:
            self._missing_since.setdefault(server_id, loop_now)
        elif fit is not Fit.UNSEEN:
            self._missing_since.pop(server_id, None)
        return Sight(
            server=seen,
            wanted=wanted,
            may_ask=may_ask,
            in_state_s=loop_now - self._in_state[server_id][1],
            same_s=loop_now - self._seen[server_id][1],
            missing_s=loop_now - self._missing_since.get(server_id, loop_now),
            seen_down=server_id in self._seen_down,
            is_newer=fit is Fit.RUNNING and self._is_newer(seen),
            left_down=server_id in self._left_down,
        )

    def _note_update(self, server: AfootServer, fit: Fit, updated_at: float) -> None:
        if fit is Fit.OFF:
            self._off_by[server.server_id] = max(updated_at, self._off_by.get(server.server_id, updated_at))
        elif server.state is ServerState.STOPPING and server.server_id not in self._off_by:
            self._ran_by[server.server_id] = max(updated_at, self._ran_by.get(server.server_id, updated_at))

    def _is_newer(self, seen: Server | None) -> bool:
        """Whether the record cannot be one from before the server was down. False where times are not told.

        All three times are those of one record, as the compute service keeps it.
        """
        if seen is None or seen.updated_at is None:
            return False
        ran_by, off_by = self._ran_by.get(seen.server_id), self._off_by.get(seen.server_id)
        return ran_by is not None and off_by is not None and ran_by < seen.updated_at >= off_by

    def status(self, server_id: str) -> str:
        """The cloud's words for how it was seen last."""
        seen, _ = self._seen.get(server_id, (None, 0.0))
        if seen is None or not seen.exists:
            return "unknown"
        return f"{seen.status} ({seen.task})" if seen.task else seen.status

    def forget(self, server_id: str) -> None:
        """It is up, or to be stopped anew."""
        self._in_state.pop(server_id, None)
        self._seen.pop(server_id, None)
        self._missing_since.pop(server_id, None)
        self._ran_by.pop(server_id, None)
        self._off_by.pop(server_id, None)
        self._seen_down.discard(server_id)
        self._left_down.discard(server_id)

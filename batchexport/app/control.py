"""Talking to a running run: what may be asked of it, asked from outside and answered inside."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from batchexport import control_socket
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.control_socket import MAX_BYTES
from batchexport.engine import Controls
from batchexport.errors import StateError
from batchexport.log_level import NOTICE
from batchexport.model import ExportOrder
from batchexport.store import StoreRef
from batchexport.store.postgres.reference import DatabasePath

log = logging.getLogger(__name__)

#: How long either side waits for the other.
ANSWER_S = 5.0
#: How long a look at a run waits for what the run says of itself.
LOOK_S = 0.5
Action = Literal["show", "pause", "continue", "drain", "limits", "order"]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is asked for."""

    action: Action
    max_exports: int | None = None
    requests_per_second: float | None = None
    order: ExportOrder | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands after it."""

    is_paused: bool = False
    is_draining: bool = False
    max_exports: int = 0
    requests_per_second: float = 0.0  #: the setting; 0 = unlimited
    order: ExportOrder = ExportOrder.PRIORITY
    error: str | None = None  #: why it was not done


class RunControl:
    """What a running run can be asked to do."""

    def __init__(
        self,
        controls: Controls,
        limiters: Sequence[RateLimiter],
        *,
        requests_per_second: float,
        drain: Callable[[], object],
    ) -> None:
        """`limiters` are those of its targets so far: it grows while they are signed in to. `drain` is called
        once when the run is to begin nothing more and to end.
        """
        self._controls = controls
        self._limiters = limiters
        self._rate = requests_per_second
        self._drain = drain
        self._is_draining = False

    @property
    def standing(self) -> Answer:
        """How the run stands now."""
        return self._answer()

    def do(self, request: Request) -> Answer:
        """Do it; the answer says what holds from now on."""
        if (fault := _fault(request)) is not None:
            return self._answer(fault)
        controls = self._controls
        match request.action:
            case "pause" | "continue":
                controls.is_paused = request.action == "pause"
            case "drain":
                self._is_draining = True
                self._drain()
            case "limits":
                if request.max_exports is not None:
                    controls.max_exports = request.max_exports
                if request.requests_per_second is not None:
                    self._rate = request.requests_per_second
            case "order":
                controls.order = request.order or controls.order
            case "show":
                return self._answer()
        for limiter in self._limiters:
            limiter.change_limit(self._rate)
        controls.changed()
        answer = self._answer()
        log.log(
            NOTICE, "asked by ctl: %s", _told(request, answer), extra={"action": f"control_{request.action}"}
        )
        return answer

    def _answer(self, error: str | None = None) -> Answer:
        controls = self._controls
        return Answer(
            is_paused=controls.is_paused,
            is_draining=self._is_draining,
            max_exports=controls.max_exports,
            requests_per_second=self._rate,
            order=controls.order,
            error=error,
        )


def _fault(request: Request) -> str | None:
    rate = request.requests_per_second
    if request.max_exports is not None and request.max_exports < 1:
        return f"max_exports is {request.max_exports}; it must be 1 or more"
    if rate is not None and not (math.isfinite(rate) and rate >= 0):
        return f"requests_per_second is {rate}; it must be 0 (unlimited) or more"
    return None


def _told(request: Request, answer: Answer) -> str:
    match request.action:
        case "limits":
            rate = f"{answer.requests_per_second:g}" if answer.requests_per_second else "unlimited"
            return f"at most {answer.max_exports} exports at once, {rate} requests/s"
        case "order":
            return f"order {answer.order}"
        case "pause":
            return "paused: nothing new begins"
        case "continue":
            return "continuing"
        case _:
            return "draining: nothing new begins, and the run ends"


@asynccontextmanager
async def controlled(state_path: StoreRef, control: RunControl) -> AsyncIterator[None]:
    """Listen for requests as long as the context lasts.

    Where that is not possible the run goes on without, and says so in its log. A run in a database is not
    listened for: it may have many workers.
    """
    if isinstance(state_path, DatabasePath) or not isinstance(state_path, Path):
        yield
        return
    path = state_path
    try:
        listener = control_socket.listening(path)
    except OSError as error:
        log.info("ctl cannot reach this run (%s)", error, extra={"action": "control_unavailable"})
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not control_socket.is_of_friend(writer.get_extra_info("socket")):
                return
            line = await asyncio.wait_for(reader.readline(), ANSWER_S)
            writer.write(msgspec.json.encode(_answered(control, line)) + b"\n")
            await asyncio.wait_for(writer.drain(), ANSWER_S)
        except (OSError, ValueError, TimeoutError) as error:
            log.debug("ctl went away: %s", error, extra={"action": "control_lost"})
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, sock=listener, limit=MAX_BYTES)
    try:
        yield
    finally:
        server.close()
        control_socket.remove(path)


def _answered(control: RunControl, line: bytes) -> Answer:
    try:
        return control.do(msgspec.json.decode(line, type=Request))
    except msgspec.DecodeError as error:
        return Answer(error=f"not understood: {error}")


def standing_of(state_path: StoreRef) -> str:
    """What a look from outside should say of the run that works on a state file: paused, draining or nothing.

    Nothing as well where it cannot be asked, or takes longer than a moment.
    """
    if isinstance(state_path, DatabasePath) or not isinstance(state_path, Path):
        return ""
    try:
        answer = ask(state_path, Request(action="show"), within_s=LOOK_S)
    except StateError:
        return ""
    return standing_text(answer)


def standing_text(answer: Answer) -> str:
    """Paused or draining, with what that means; empty while a run simply runs."""
    if answer.is_draining:
        return "draining: nothing new begins, and the run ends"
    return "paused by ctl: nothing new begins" if answer.is_paused else ""


def ask(state_path: Path, request: Request, *, within_s: float = ANSWER_S) -> Answer:
    """Ask the run that works on a state file. Raises StateError where none can be asked, or it refused."""
    hint = (
        f"`batchexport status {state_path}` shows whether a run is working on it; only its own user can talk"
        " to it, on the same machine"
    )
    try:
        with control_socket.connected(state_path, timeout_s=within_s) as connection:
            connection.sendall(msgspec.json.encode(request) + b"\n")
            line = connection.makefile("rb").readline(MAX_BYTES)
    except TimeoutError as error:
        raise StateError(
            f"{state_path}: its run has not answered within {within_s:.0f} s", hint=hint
        ) from error
    except FileNotFoundError as error:
        raise StateError(f"{state_path}: no run is working on it, so none can be told", hint=hint) from error
    except ConnectionRefusedError as error:
        raise StateError(
            f"{state_path}: no run is working on it any more; the last one was killed", hint=hint
        ) from error
    except OSError as error:
        raise StateError(f"{state_path}: cannot talk to its run: {error}", hint=hint) from error
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except msgspec.DecodeError as error:
        raise StateError(f"{state_path}: its run ended before it answered", hint=hint) from error
    if answer.error is not None:
        raise StateError(f"{state_path}: its run refused: {answer.error}")
    return answer


def answer_text(answer: Answer) -> str:
    """How the run stands, as a line."""
    standing = "draining" if answer.is_draining else "paused" if answer.is_paused else "running"
    rate = f"{answer.requests_per_second:g}" if answer.requests_per_second else "unlimited"
    return (
        f"{standing}: at most {answer.max_exports} exports at once, {rate} requests/s, order {answer.order}"
    )


def answer_json(answer: Answer) -> str:
    """The same as JSON."""
    content: Mapping[str, object] = msgspec.to_builtins(answer)
    return json.dumps({name: value for name, value in content.items() if name != "error"}, indent=2)

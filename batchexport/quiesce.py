"""The user's commands around the snapshots of a server, so that its volumes are consistent: freeze, and thaw.

They are run by a process of their own (`quiesce_guard`), which thaws even if this one is killed meanwhile.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from batchexport.host_command import CommandResult, HostCommand, run_command
from batchexport.redaction import redacted

#: How long the guard may take beside the commands themselves: to start, to end one that overran, to report.
_GUARD_S = 20.0


class QuiesceCommands(msgspec.Struct, frozen=True, kw_only=True):
    """What to run on this machine around the snapshots of one server."""

    before: HostCommand | None = None
    after: HostCommand | None = None  #: always runs once `before` was begun, whatever became of it
    #: How long the snapshots may take; then `after` runs, for a frozen server serves nobody.
    hold_s: float = 60.0

    def __bool__(self) -> bool:
        return self.before is not None or self.after is not None


class QuiescedServer(msgspec.Struct, frozen=True, kw_only=True):
    """The server that commands are run for: they get it as variables and as JSON on stdin."""

    server_id: str
    server_name: str | None = None
    volume_ids: Sequence[str] = ()  #: to be copied

    def environment(self) -> dict[str, str]:
        """The variables."""
        return {
            "BATCHEXPORT_SERVER_ID": self.server_id,
            "BATCHEXPORT_SERVER_NAME": (self.server_name or "").replace("\0", ""),
            "BATCHEXPORT_VOLUME_IDS": " ".join(self.volume_ids),
        }


class GuardOrder(msgspec.Struct, kw_only=True):
    """What the guard is told: one line of JSON."""

    commands: QuiesceCommands
    server: QuiescedServer


class GuardReport(msgspec.Struct, kw_only=True):
    """What the guard tells after each command: one line of JSON."""

    exit_code: int | None
    output: str
    overran: bool = False  #: of `after`: the snapshots took longer than `hold_s`


class Quiesced:
    """How the commands around one burst ended. None = there was none to run, or it has not ended."""

    before: CommandResult | None = None
    after: CommandResult | None = None
    overran: bool = False  #: the snapshots took too long: the last ones may be of a server that went on

    @property
    def is_ready(self) -> bool:
        """Whether snapshots may be made: nothing was to be run first, or it ended well."""
        return self.before is None or self.before.is_good

    @property
    def problem(self) -> str | None:
        """What went wrong, for a person; None = nothing."""
        words = [f"{name} {each}" for name, each in self._results() if each is not None and not each.is_good]
        if self.overran:
            words.append(
                "the snapshots took longer than the server may be held: the last may be inconsistent"
            )
        return "; ".join(words) or None

    def _results(self) -> Sequence[tuple[str, CommandResult | None]]:
        return ("before:", self.before), ("after:", self.after)


@asynccontextmanager
async def quiesced(commands: QuiesceCommands, server: QuiescedServer) -> AsyncIterator[Quiesced]:
    """Runs `before`, then the body, then `after`. Look at `is_ready` first: where not, make no snapshot.

    Raises nothing of its own. After a body that was cancelled or failed `after` runs all the same; if this
    process is killed, or takes longer than `hold_s`, the guard runs it.
    """
    result = Quiesced()
    if not commands:
        yield result
        return
    guard = _Guard.start(commands, server)
    try:
        if commands.before is not None:
            result.before = await _ran_before(commands.before, guard)
        yield result
    finally:
        if guard is not None:
            guard.release()  # no await up to here: it goes on even if this is cancelled
        if commands.after is not None:
            await _run_after(commands.after, server, guard, result)
        if guard is not None:
            await guard.ended()


class _Guard:
    """The process of the guard.

    Not one of asyncio's: these are killed when they are forgotten, as in a run that is cancelled twice.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, commands: QuiesceCommands, server: QuiescedServer) -> _Guard | None:
        """The guard, with its order; None = it cannot be started."""
        # -P: not the package of the same name that may be in the current folder.
        program = (sys.executable, "-P", "-m", "batchexport.quiesce_guard")
        try:
            process = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError:
            return None
        guard = cls(process)
        guard._write(msgspec.json.encode(GuardOrder(commands=commands, server=server)) + b"\n")
        return guard

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def release(self) -> None:
        """Close its stdin: that is what it waits for."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    async def report(self, timeout_s: float) -> GuardReport | None:
        """Its next report; None = it ended, or was ended, without one."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), timeout_s)
            return msgspec.json.decode(line, type=GuardReport)
        except (TimeoutError, msgspec.MsgspecError, ValueError):
            self._process.kill()
            return None

    async def ended(self) -> None:
        """Wait for it."""
        await asyncio.to_thread(self._process.wait)
        assert self._process.stdout is not None
        self._process.stdout.close()


async def _ran_before(command: HostCommand, guard: _Guard | None) -> CommandResult:
    report = None if guard is None else await guard.report(command.timeout_s + _GUARD_S)
    if report is None:
        return CommandResult(command=command, exit_code=126, output="its process could not be run")
    return _result(command, report)


async def _run_after(
    command: HostCommand, server: QuiescedServer, guard: _Guard | None, result: Quiesced
) -> None:
    """Wait for `after`; where the guard did not run it, run it here."""
    report = None if guard is None else await guard.report(command.timeout_s + _GUARD_S)
    if report is not None:
        result.after, result.overran = _result(command, report), report.overran
    else:
        document = msgspec.to_builtins(server)
        result.after = await run_command(command, environment=server.environment(), document=document)


def _result(command: HostCommand, report: GuardReport) -> CommandResult:
    return CommandResult(command=command, exit_code=report.exit_code, output=redacted(report.output))

"""Commands of the user's on this machine, such as hooks: run without a shell, bounded in time and output.

The one runner for all of them: `run_command(command, environment=…, document=…)` returns a `CommandResult`
and raises nothing but cancellation; what a failure means is the caller's policy.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from batchexport.redaction import redacted, sanitize

#: How long a command may take unless it says otherwise: a database that is quiesced waits no longer.
DEFAULT_TIMEOUT_S = 60.0
#: Between the polite signal and the one that cannot be ignored.
_GRACE_S = 5.0
#: How soon the end of a command is seen.
_LOOK_S = 0.02
#: After a command has ended, how long its output is waited for: a child of its own may hold the pipe open.
_DRAIN_S = 1.0
#: The end of its output says why a command failed.
_KEPT_BYTES = 4096
_SHOWN_CHARACTERS = 200
#: What a shell calls a program that it cannot find, or cannot run.
_NOT_FOUND, _NOT_RUNNABLE = 127, 126


class HostCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A program with its arguments, as they are: no shell reads them."""

    arguments: tuple[str, ...]
    timeout_s: float = DEFAULT_TIMEOUT_S

    def __str__(self) -> str:
        return shlex.join(self.arguments)


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended."""

    command: HostCommand
    exit_code: int | None  #: None = it did not end in time and was killed; negative = ended by this signal
    output: str = ""  #: the end of its output, on one line and without secrets

    @property
    def is_good(self) -> bool:
        """Whether it ended by itself, with 0."""
        return self.exit_code == 0

    def __str__(self) -> str:
        """What happened, for a person: `fsfreeze -f /data: exit code 1: not a mountpoint`."""
        if self.exit_code is None:
            how = f"did not end within {self.command.timeout_s:g} s, and was killed"
        elif self.exit_code < 0:
            how = f"ended by signal {-self.exit_code}"
        else:
            how = f"exit code {self.exit_code}"
        command = str(self.command)
        shown = command if len(command) <= 80 else command[:79] + "…"
        return sanitize(": ".join(filter(None, (shown, how, self.output))))


def parse_command(value: object) -> tuple[str, ...]:
    """The program and its arguments, from one text (split at blanks as a shell does) or a list of texts.

    Raises ValueError; its message continues a sentence that begins with the key.
    """
    if isinstance(value, str):
        try:
            arguments = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be split into arguments: {error}") from error
    elif isinstance(value, list) and all(isinstance(each, str) for each in value):
        arguments = value
    else:
        raise ValueError("must be a text in quotes, or a list of texts: program and arguments")
    if not arguments or not arguments[0]:
        raise ValueError("is empty; leave the key out instead")
    if any("\0" in each for each in arguments):
        raise ValueError("must not contain a NUL character")
    return tuple(arguments)


async def run_command(
    command: HostCommand, *, environment: Mapping[str, str] | None = None, document: object = None
) -> CommandResult:
    """Run a command to its end, or kill it when its time is over.

    It gets this process's environment with `environment` on top, and `document` as JSON on stdin (`null` for
    None). It has a session of its own: Ctrl-C in the terminal does not reach it. It and everything that it
    started there are killed when its time is over or the caller is cancelled.
    """
    try:
        process = await _started(command, {**os.environ, **(environment or {})})
    except (OSError, ValueError) as error:
        code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE
        words = error.strerror if isinstance(error, OSError) else None
        return CommandResult(command=command, exit_code=code, output=words or str(error))
    tail = bytearray()
    given = (json.dumps(document, ensure_ascii=False) + "\n").encode(errors="replace")
    helpers = [asyncio.ensure_future(_feed(process, given)), asyncio.ensure_future(_read(process, tail))]
    exit_code: int | None = None
    try:
        with suppress(TimeoutError):
            exit_code = await asyncio.wait_for(_exit_of(process), command.timeout_s)
        if exit_code is not None:
            await asyncio.wait(helpers, timeout=_DRAIN_S)
    finally:
        await _end(process)
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        _close(process)
    return CommandResult(command=command, exit_code=exit_code, output=_end_of(tail))


async def _started(command: HostCommand, environment: Mapping[str, str]) -> Process:
    """The process of the command. Raises OSError or ValueError where it cannot be started."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            env=environment,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # asyncio would kill the command alone, and wait for whatever that has started.
        with suppress(OSError, ValueError):
            process = await starting
            await _end(process)
            _close(process)
        raise


async def _feed(process: Process, given: bytes) -> None:
    """Hand it its input; a command that does not read it is as welcome."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(given)
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()


async def _read(process: Process, tail: bytearray) -> None:
    """Read all output, so that the command never waits for us, and keep its end."""
    assert process.stdout is not None
    while chunk := await process.stdout.read(65_536):
        tail += chunk
        del tail[:-_KEPT_BYTES]


async def _exit_of(process: Process) -> int:
    """The exit code. `Process.wait` would wait for whoever still holds the output, too."""
    while process.returncode is None:  # noqa: ASYNC110 - asyncio tells of it in no other way
        await asyncio.sleep(_LOOK_S)
    return process.returncode


def _end_of(output: bytearray) -> str:
    """The end of the output on one line, without secrets."""
    text = " ".join(redacted(output.decode(errors="replace")).split())
    return sanitize(text if len(text) <= _SHOWN_CHARACTERS else "…" + text[-_SHOWN_CHARACTERS:])


async def _end(process: Process) -> None:
    """Kill a command that has not ended, with everything that it started in its session."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(_exit_of(process), _GRACE_S)
    _signal(process, signal.SIGKILL)  # what it started may have ignored the first one
    await _exit_of(process)


def _signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to the command and to everything that it started in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _close(process: Process) -> None:
    """Close the pipes, even if a child of the command still holds its ends."""
    # asyncio closes them at the end of the output alone, and says nothing public about it.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()

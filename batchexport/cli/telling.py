"""Telling others about a run: the options for it, and the two moments at which a command does it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from batchexport.cli.complaint import only_error
from batchexport.cli.options import FILE, Parsed, all_of, option
from batchexport.cli.outlets import Outlets
from batchexport.cli.talk import Talk, say, silence_stdout, talk_of
from batchexport.cli.talk_options import Section
from batchexport.errors import BatchExportError, ConfigError
from batchexport.observe.metrics_server import parse_address
from batchexport.redaction import redacted

if TYPE_CHECKING:
    from batchexport.engine import Connect, OnChange
    from batchexport.observe.run_observer import RunObserver


log = logging.getLogger(__name__)

#: Another process works on the state file, or it cannot be used or written.
_NOT_AT_WORK = frozenset({4, 5, 74})


def _for_outlets(name: str) -> dict[str, Any]:
    """Attributes of an option that is kept with the program's outlets, whichever command it was given to."""

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(talk_of(context).outlets, name, value)

    return {"expose_value": False, "callback": keep}


telling_options = all_of(
    option(
        "--events",
        metavar="FILE|-",
        words="Append what happens to a file, one JSON object a line; - is stdout.",
        **_for_outlets("events"),
    ),
    option(
        "--metrics-file",
        type=FILE,
        metavar="FILE",
        words="Keep metrics for Prometheus' textfile collector in this file, also after a failure.",
        **_for_outlets("metrics_file"),
    ),
    option(
        "--metrics-addr",
        type=Parsed("address", parse_address),
        metavar="[HOST:]PORT",
        words="Serve metrics at http://HOST:PORT/metrics while the run goes on; without a host, locally.",
        **_for_outlets("metrics_addr"),
    ),
    section=Section.EVENTS,
)


class HowItEnded(msgspec.Struct):
    """For those who are told; 1 unless somebody knows better."""

    exit_code: int = 1


@contextmanager
def run_told(state_path: Path, talk: Talk) -> Iterator[HowItEnded]:
    """Around one run: its end is told however it ends. The caller sets the exit code."""
    ending = HowItEnded()
    telling = _telling_of(talk.outlets) if talk.outlets.any else None
    began_at = time.time()

    def ended(exit_code: int, error: str | None) -> None:
        _note_end(state_path, talk, began_at, exit_code, error)
        if telling is not None:
            telling.run_ended(state_path, exit_code, error)

    try:
        yield ending
    except BaseException as error:
        ended(*_ending_of(error))
        raise
    ended(ending.exit_code, None)


def _note_end(state_path: Path, talk: Talk, began_at: float, exit_code: int, error: str | None) -> None:
    """Note how the work ended in its state file; not where the file could not be worked on at all."""
    if exit_code in _NOT_AT_WORK:
        return
    from batchexport.store import ProcessEnd, note_end

    end = ProcessEnd(
        began_at=began_at,
        ended_at=time.time(),
        exit_code=exit_code,
        error=None if error is None else redacted(error),
        host=socket.gethostname(),
        job=talk.outlets.name or None,
    )
    try:
        note_end(state_path, end)
    except BatchExportError as unwritten:
        log.debug("how the run ended could not be noted: %s", unwritten)


@contextmanager
def end_told(talk: Talk) -> Iterator[None]:
    """Around a whole command: those who are told once are told when it ends, however it ends."""
    try:
        yield
    except BaseException as error:
        if talk.outlets.any:
            _tell_end(talk.outlets, *_ending_of(error))
        raise
    if talk.outlets.any:
        _tell_end(talk.outlets, 0, None)


def told_about(state_path: Path, talk: Talk) -> None:
    """What is told at the end is of this run, whichever was worked on last."""
    if talk.outlets.telling is not None and state_path.exists():
        talk.outlets.telling.is_about(state_path)


@asynccontextmanager
async def others_see(
    state_path: Path, talk: Talk, connect: Connect
) -> AsyncIterator[tuple[Connect, OnChange | None]]:
    """Around the work of a run: connections and observer, with those told who want to be told meanwhile."""
    if not talk.outlets.any:
        yield connect, None
        return
    telling = _telling_of(talk.outlets)
    async with telling.observing(state_path):
        yield telling.instrument(connect), telling.job_changed


def _tell_end(outlets: Outlets, exit_code: int, error: str | None) -> None:
    try:
        _telling_of(outlets).end(exit_code, error)
    except KeyboardInterrupt:
        say("interrupted; perhaps not everybody was told")
    except ConfigError as unopened:
        # Told already, if it was what ended the command; the others are not told by a half-made list.
        if str(unopened) != error:
            say(f"nobody was told: {unopened}")
    finally:
        if outlets.event_writer is not None:
            outlets.event_writer.close()


def _telling_of(outlets: Outlets) -> RunObserver:
    if outlets.telling is None:
        from batchexport.cli.event_stream import event_stream
        from batchexport.observe.run_observer import RunObserver

        outlets.telling = RunObserver(
            name=outlets.name,
            events=event_stream(outlets),
            events_broken=silence_stdout if outlets.stdout_is_taken else None,
            metrics_file=outlets.metrics_file,
            metrics_address=outlets.metrics_addr,
            notify=outlets.notify,
            reports=outlets.reports,
            notes=outlets.notes,
            say=talk_of().mention,
        )
    return outlets.telling


def _ending_of(error: BaseException) -> tuple[int, str | None]:
    """The exit code that an exception of a command leads to, and the words for it."""
    match error:
        case click.exceptions.Exit():
            cause = error.__cause__
            told = only_error(cause) if isinstance(cause, Exception) else cause
            return error.exit_code, None if told is None else str(told)
        case BatchExportError():
            return error.exit_code, str(error)
        case click.ClickException():
            return error.exit_code, error.format_message()
        case SystemExit(code=int(code)):
            return code, None
        case KeyboardInterrupt() | click.Abort():
            return 130, "interrupted"
    found = only_error(error) if isinstance(error, Exception) else error
    return 1, f"unexpected {type(found).__name__}: {found}"

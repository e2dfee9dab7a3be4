"""Standard input, output and error made safe to use, before anything reads or writes them."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import TextIO

import click

#: Files that a process needs open at once to sign in, keep its state and copy: some 20 with one connection.
MIN_OPEN_FILES = 32


def prepare_streams() -> None:
    """Make sure that all three are open, and that no character is an error to print.

    A stream that the caller closed reads as empty and swallows what is written: its number must not go to
    the next file that is opened. What a terminal's encoding lacks is shown as a question mark.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if not _is_open(number):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, _opened(number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def raise_file_limit() -> int | None:
    """Allow this process as many open files as it may have; the limit where that is too few, else None."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES:
        return None
    wanted = MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MIN_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return None if wanted >= MIN_OPEN_FILES else wanted


def too_many_files(error: BaseException) -> str | None:
    """What to say where the error, or one inside it, is that no more files may be opened; else None."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(too_many_files, error.exceptions)), None)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"this process may open no more files: {error.strerror}"
    return too_many_files(error.__cause__) if error.__cause__ else None


def is_of_stdout(error: OSError) -> bool:
    """Whether the error is that what was to be printed cannot be written, for instance on a full disk."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return click.echo.__code__ in frames or _flush_stdout() is not None


def _flush_stdout() -> OSError | None:
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _opened(number: int) -> TextIO:
    return open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)

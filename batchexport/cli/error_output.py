"""How errors are printed: what is wrong and what to do next, as text or JSON."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections import Counter
from collections.abc import Sequence

from batchexport.cli.console import LogFormat, console_of, err, marked
from batchexport.errors import BatchExportError, JobListError
from batchexport.lists.problem import printable

#: Problems of one kind that are shown, and lines of any.
MOST_OF_A_KIND, MOST_LINES = 10, 100
#: What differs between problems of one kind: the value, and numbers.
_VALUES = re.compile(r'"(?:[^"\\]|\\.)*"|\d+')
_SEE_MORE = "run again with -vv to see where"


def print_error(error: BatchExportError) -> None:
    """Tell of an error of ours, with its problems and its hint."""
    problems = [f"{problem}" for problem in error.problems] if isinstance(error, JobListError) else []
    if console_of().log_format != LogFormat.JSON:  # a program may want them all
        problems = _listed(problems)
    if isinstance(error, JobListError) and error.total > len(error.problems):
        problems.append(f"… and {error.total - len(error.problems)} more")
    _print_error(error, str(error), problems, error.hint)


def _listed(texts: Sequence[str]) -> list[str]:
    """A line for each problem, and no more of a kind than tell a person what it is about."""
    lines: list[str] = []
    kinds = [_VALUES.sub("", text) for text in texts]
    times, told = Counter(kinds), Counter[str]()
    for text, kind in zip(texts, kinds, strict=True):
        told[kind] += 1
        if told[kind] <= MOST_OF_A_KIND:
            lines.append(text)
        elif told[kind] == MOST_OF_A_KIND + 1:
            lines.append(f"… and {times[kind] - MOST_OF_A_KIND} more like the one before")
    if (more := len(lines) - MOST_LINES) > 0:
        lines[MOST_LINES:] = [f"… and {more} more lines of this"]
    return lines


def print_unexpected(error: Exception) -> None:
    """Print an unexpected error, with its traceback only for -vv."""
    error = only_error(error)
    hint = _SEE_MORE if console_of().verbose < 2 else None
    _print_error(error, f"unexpected {type(error).__name__}: {error}", [], hint)


def only_error(error: Exception) -> Exception:
    """The error inside groups that hold no other one: who reads of it never heard of task groups."""
    while isinstance(error, ExceptionGroup):
        errors = [each for each in error.exceptions if not isinstance(each, asyncio.CancelledError)]
        if len(errors) != 1 and len({f"{type(each)} {each}" for each in errors}) != 1:
            break
        error = errors[0]
    return error


def _print_error(error: Exception, words: str, problems: list[str], hint: str | None) -> None:
    console = console_of()
    trace = "".join(traceback.format_exception(error)).rstrip() if console.verbose > 1 else None
    if console.log_format == LogFormat.JSON:
        more = {"error": type(error).__name__, "problems": problems, "hint": hint, "traceback": trace}
        err(words, level="error", **{name: value for name, value in more.items() if value})
        return
    if trace:
        err(trace, level="error")
    err(f"{marked('error:', 'red')} {_harmless(words)}", level="error")
    for problem in problems:
        err(f"  {_harmless(problem)}", level="error")
    if hint:
        err(f"{marked('hint:', 'yellow')} {_harmless(hint)}", level="error")


def _harmless(text: str) -> str:
    """The text with what could steer a terminal escaped; line ends are ours."""
    return "\n".join(map(printable, text.split("\n")))

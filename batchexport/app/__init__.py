"""The use cases, each one function: it takes values, and returns what happened or raises our errors.

Nothing in here knows a terminal, Click or signals.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


def run_in_loop(main: Coroutine[None, None, Result]) -> Result:
    """The result of a use case, for a caller without an event loop; on uvloop where it is installed."""
    import asyncio  # commands that need no loop do not pay for it

    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)

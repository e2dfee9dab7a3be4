"""Waiting for something that another process does."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Far more than anything waited for takes on a slow machine.
PATIENCE_S = 30.0


def wait_until(happened: Callable[[], bool]) -> None:
    """Return once it happened. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen in {PATIENCE_S:.0f} s")
        time.sleep(0.01)

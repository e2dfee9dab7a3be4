"""The hurried program on a machine whose clock is set by JUMP_S seconds once the file JUMP_WHEN is there."""

from __future__ import annotations

import os
import time
from pathlib import Path

real = time.time
signal_file, jump_s = Path(os.environ["JUMP_WHEN"]), float(os.environ["JUMP_S"])


def jumping() -> float:
    return real() + jump_s if signal_file.exists() else real()


# Before the first import of the program, whose defaults take the function as it is then.
time.time = jumping

from hurry import hurry, main  # type: ignore[import-not-found]  # noqa: E402 - run as a script beside it

hurry()
main()

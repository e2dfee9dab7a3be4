"""The program with another patience for a full disk, in seconds: GRACE_S."""

from __future__ import annotations

import os
from functools import partial

from batchexport.cli.program import main
from batchexport.store import StateFile

StateFile.open = staticmethod(  # type: ignore[method-assign]  # the driver's whole purpose
    partial(StateFile.open, write_grace_s=float(os.environ["GRACE_S"]))
)
main()

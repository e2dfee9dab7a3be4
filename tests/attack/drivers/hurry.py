"""The program with every wait between two tries, or for a second look, cut to a fiftieth."""

from __future__ import annotations

from batchexport.cli.program import main
from batchexport.engine import decide, send_failures
from batchexport.retry import Backoff

TIMES = 50
#: How long something must be missing before that is believed.
ABSENCES = ("ABSENT_BASE_S", "ABSENT_PER_GIB_S", "ABSENT_MAX_S", "ORPHAN_BASE_S", "ORPHAN_PER_GIB_S")


def hurry() -> None:
    """Shorten the waits of this process."""
    for name in ABSENCES:
        setattr(decide, name, getattr(decide, name) / TIMES)
    send_failures.WITNESS_S /= TIMES
    patient = Backoff.delay_s
    Backoff.delay_s = lambda *args, **kwargs: patient(*args, **kwargs) / TIMES  # type: ignore[method-assign]


if __name__ == "__main__":
    hurry()
    main()

"""Killing the same command again and again, at points and at times drawn by lot, until it ends by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.crash import points
from tests.crash.killed_at import TIME
from tests.crash.site import Site, Trap

#: Share of kills at a time instead of a point.
AT_A_TIME = 0.4
#: Most processes begin to send within 0.3 s and have settled lost answers within 2 s.
LONGEST_MS = 2000
#: Points reached once for each row, and those reached once or twice by a process.
OFTEN = ("during_load", "at_connect", "at_send", "after_send", "after_202")


def drawn_trap(drawn: random.Random, volumes: int) -> Trap:
    """Where the next process is to be killed."""
    if drawn.random() < AT_A_TIME:
        return Trap(point=TIME, times=drawn.randint(1, LONGEST_MS))
    point = drawn.choice(points.NAMES)
    most = max(2, volumes // 2) if point in OFTEN else 6 if "commit" in point or "intent" in point else 2
    return Trap(point=point, times=drawn.randint(1, most))


def torment(site: Site, drawn: random.Random, *, most_kills: int) -> Iterator[Trap]:
    """The traps that killed a process, until one ends by itself; after `most_kills` one may.

    Raises AssertionError if that one did not bring every row to an image.
    """
    for _ in range(most_kills):
        trap = drawn_trap(drawn, len(site.volume_ids))
        ended = site.run(trap=trap)
        if not ended.killed:
            assert ended.exit_code == 0, f"{trap}: exit code {ended.exit_code}: {ended.talk}"
            return
        yield trap
    last = site.run()
    assert last.exit_code == 0, last.talk

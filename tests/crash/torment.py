"""Killing the same command again and again, at points and at times drawn by lot, until it ends by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.crash import points
from tests.crash.killed_at import TIME
from tests.crash.site import Site, Trap

#: Share of kills at a time instead of a point.
AT_A_TIME = 0.4
#: Most processes begin to send after 0.2 s, and after 1.5 s many lists have come to their end.
LONGEST_MS = 1500
#: Points reached once for each row, those reached a few times by a process, and those only in its first life.
OFTEN = ("at_connect", "at_send", "after_send", "after_202")
SELDOM = tuple(name for name in points.NAMES if "commit:" in name or "_intent" in name or "settle" in name)
BUILDING = ("during_load", "before_rename", "after_rename")


def drawn_trap(drawn: random.Random, volumes: int, *, is_built: bool) -> Trap:
    """Where the next process is to be killed."""
    if drawn.random() < AT_A_TIME:
        return Trap(point=TIME, times=drawn.randint(1, LONGEST_MS))
    point = drawn.choice([name for name in points.NAMES if not (is_built and name in BUILDING)])
    most = max(1, volumes // 10) if point in OFTEN else 3 if point in SELDOM else 1
    return Trap(point=point, times=drawn.randint(1, most))


def torment(site: Site, drawn: random.Random, *options: str, most_kills: int) -> Iterator[Trap]:
    """The traps that killed a process, until one ends by itself; after `most_kills` one may.

    `options` are further ones of the command, the same for each process.

    Raises AssertionError if that one did not bring every row to an image.
    """
    for _ in range(most_kills):
        trap = drawn_trap(drawn, len(site.volume_ids), is_built=site.state_path.exists())
        ended = site.run(*options, trap=trap)
        if not ended.killed:
            assert ended.exit_code == 0, f"{trap}: exit code {ended.exit_code}: {ended.talk}"
            return
        yield trap
    last = site.run(*options)
    assert last.exit_code == 0, last.talk

"""Killing the same command again and again, at points and at times drawn by lot, until it ends by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tests.crash import points
from tests.crash.killed_at import TIME
from tests.crash.site import Site, Trap

#: Share of kills at a time instead of a point.
AT_A_TIME, AT_A_TIME_UNDER_WEATHER = 0.4, 0.8
#: Most processes begin to send after 0.2 s, and after 1.5 s many lists have come to their end.
LONGEST_MS = 1500
#: Points reached once for each row, those reached a few times by a process, and those only in its first life.
OFTEN = ("at_connect", "at_send", "after_send", "after_202")
SELDOM = tuple(name for name in points.NAMES if "commit:" in name or "_intent" in name or "settle" in name)
BUILDING = ("during_load", "before_rename", "after_rename")


#: Share of kills at a point of copying, in a run that copies volumes in use.
AT_A_COPY = 0.5


def drawn_trap(
    drawn: random.Random, volumes: int, *, is_built: bool, weather: bool = False, copies: bool = False
) -> Trap:
    """Where the next process is to be killed. Under weather processes live longer, and are killed later."""
    if copies and drawn.random() < AT_A_COPY:
        return Trap(point=drawn.choice(points.COPY_NAMES), times=drawn.randint(1, max(1, volumes // 6)))
    if drawn.random() < (AT_A_TIME_UNDER_WEATHER if weather else AT_A_TIME):
        return Trap(point=TIME, times=drawn.randint(1, (3 if weather else 1) * LONGEST_MS))
    point = drawn.choice([name for name in points.NAMES if not (is_built and name in BUILDING)])
    most = max(1, volumes // 10) if point in OFTEN else 3 if point in SELDOM else 1
    return Trap(point=point, times=drawn.randint(1, most))


#: Exit codes of a run that has brought every row to an end, in fair weather and under any other, and of one
#: that gave up because the weather is as it is: the next start may fare better.
FAIR, FINISHED, GAVE_UP = (0,), (0, 3), (6,)
MOST_STARTS = 12


def torment(
    site: Site, drawn: random.Random, *options: str, most_kills: int, good: Sequence[int] = FAIR
) -> Iterator[Trap]:
    """The traps that killed a process, until one ends by itself; after `most_kills` one may.

    `options` are further ones of the command, the same for each process.

    Raises AssertionError if that one did not end with one of the `good` exit codes.
    """
    for _ in range(most_kills):
        trap = drawn_trap(
            drawn,
            len(site.volume_ids),
            is_built=site.state_path.exists(),
            weather=good is not FAIR,
            copies="snapshot" in options,
        )
        ended = site.run(*options, trap=trap)
        if ended.killed:
            yield trap
        elif good is FAIR or ended.exit_code not in GAVE_UP:
            assert ended.exit_code in good, f"{trap}: exit code {ended.exit_code}: {ended.talk}"
            return
    for _ in range(MOST_STARTS):
        last = site.run(*options)
        if good is FAIR or last.exit_code not in GAVE_UP:
            break
    assert last.exit_code in good, f"exit code {last.exit_code}: {last.talk}"

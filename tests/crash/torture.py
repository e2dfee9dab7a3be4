"""A thousand kills: ``python -m tests.crash.torture --kills 1000 --seed 1``.

List after list is worked through by processes that are killed at points and at times drawn by lot, against a
cloud that loses answers; each list must end as `invariants` says. Exit code 1 and the words of each violation
where one does not. The same seed draws the same lists, kills and faults; when they meet differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.crash.cloud import flaky_cloud
from tests.crash.invariants import duplicates_in, lost_rows, violations
from tests.crash.site import Site
from tests.crash.torment import torment

#: Lists of so many volumes: short ones end often, long ones are killed often.
FEWEST, MOST = 20, 200
MOST_KILLS_OF_ONE_LIST = 25


@dataclass(slots=True)
class Toll:
    """What came of one list or of many."""

    kills: Counter[str] = field(default_factory=Counter)  #: by point
    lists: int = 0
    volumes: int = 0
    images: int = 0
    lost_answers: int = 0
    duplicates: int = 0
    lost_rows: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Toll) -> None:
        """Count another one's numbers too."""
        self.kills += other.kills
        self.lists += other.lists
        self.volumes += other.volumes
        self.images += other.images
        self.lost_answers += other.lost_answers
        self.duplicates += other.duplicates
        self.lost_rows += other.lost_rows
        self.violations += other.violations


def one_list(seed: str, *, most_kills: int) -> Toll:
    """What comes of one list that is killed at most so often."""
    drawn = random.Random(seed)
    volumes = drawn.randint(FEWEST, MOST)
    toll = Toll(lists=1, volumes=volumes)
    faults = ("--share", f"{drawn.uniform(0, 0.5):.2f}", "--fail-share", f"{drawn.uniform(0, 0.1):.2f}")
    pace = [
        *("--requests-per-second", drawn.choice(("0", "60", "200"))),
        *("--max-exports", drawn.choice(("8", "40", "1000"))),
        *("-j", drawn.choice(("2", "16", "50"))),
    ]
    with TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        with flaky_cloud(folder, *faults, "--seed", str(drawn.getrandbits(30))) as cloud:
            site = Site(folder, cloud, volumes=volumes, seed=seed)
            try:
                for trap in torment(site, drawn, *pace, most_kills=most_kills):
                    toll.kills[trap.point] += 1
                toll.violations = violations(site.state_path, site.volume_ids, cloud)
                toll.lost_rows = lost_rows(site.state_path, site.volume_ids)
            except Exception as error:  # one list that breaks must not hide what the others show
                toll.violations = [f"{type(error).__name__}: {error}"]
            toll.lost_answers = cloud.lost_answers()
            toll.images = sum(image.status == "active" for image in cloud.images())
            toll.duplicates = duplicates_in(cloud)
    toll.violations = [f"list {seed}: {text}" for text in toll.violations]
    return toll


def torture(seed: int, kills: int, *, at_once: int, deadline_s: float) -> Toll:
    """What comes of as many lists as it takes for so many kills, or as there is time for."""
    total = Toll()
    give_up_at = time.monotonic() + deadline_s

    def lists_of(lane: int) -> None:
        number = 0
        while (left := kills - total.kills.total()) > 0 and time.monotonic() < give_up_at:
            number += 1
            share = max(1, left // at_once)
            total.add(one_list(f"{seed}-{lane}-{number}", most_kills=min(MOST_KILLS_OF_ONE_LIST, share)))
            print(f"{total.kills.total()} kills, {total.lists} lists", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(lists_of, lane) for lane in range(at_once)]:
            done.result()
    return total


def summary(seed: int, toll: Toll, took_s: float) -> str:
    """The numbers in the order of their weight."""
    lines = [
        f"seed {seed}",
        f"{toll.kills.total()} kills, {toll.lost_answers} lost answers, {toll.lists} lists",
        f"{toll.volumes} volumes, {toll.images} images",
        f"{toll.duplicates} duplicates, {toll.lost_rows} lost rows",
        f"{len(toll.violations)} violations, {took_s:.0f} s",
        "kills by point: " + ", ".join(f"{point} {times}" for point, times in sorted(toll.kills.items())),
    ]
    return "\n".join([*lines, *toll.violations])


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where nothing was violated and all kills were made."""
    parser = argparse.ArgumentParser(prog="torture")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--at-once", type=int, default=4, help="lists worked on at the same time")
    parser.add_argument("--deadline-s", type=float, default=3600.0, help="begin no list after so long")
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", file=sys.stderr, flush=True)
    began = time.monotonic()
    toll = torture(chosen.seed, chosen.kills, at_once=chosen.at_once, deadline_s=chosen.deadline_s)
    print(summary(chosen.seed, toll, time.monotonic() - began))
    return 1 if toll.violations or toll.kills.total() < chosen.kills else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

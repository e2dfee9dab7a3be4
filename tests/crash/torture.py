"""A thousand kills: ``python -m tests.crash.torture --kills 1000 --seed 1 --weather random``.

List after list is worked through by processes that are killed at points and at times drawn by lot, against a
cloud that loses answers. In fair weather each list must end as `invariants` says. Under any other, the name
of one, a file, or `random` (some faults of a storm, others for each list), it must end as `evidence` says;
its servers are then stopped for their volumes. With `--in-use snapshot` the volumes of servers are copied
instead, with `mix` those of some lists. Exit code 1 and the words of each violation where a list does
not. The same seed draws the same lists, kills and faults; when they meet differs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport.sandbox import SandboxServer
from batchexport.sandbox.weather import FAULTS
from tests.crash import cloud as clouds
from tests.crash import site as sites
from tests.crash.cloud import flaky_cloud
from tests.crash.copies import Copies, servers_stopped
from tests.crash.evidence import Evidence, verdict
from tests.crash.invariants import duplicates_in, lost_rows, report_of, violations
from tests.crash.site import Site, drawn_volumes
from tests.crash.torment import FINISHED, torment

#: Lists of so many volumes: short ones end often, long ones are killed often.
SIZES, SIZES_UNDER_WEATHER = (20, 200), (20, 60)
FAIR, RANDOM = "fair", "random"
#: How many faults of a storm a random weather has.
SHARE_OF_FAULTS = 0.35
#: The seconds of the weather are shortened as the waits of the product are.
PACE = 0.15
STOP, SNAPSHOT, MIX = "stop", "snapshot", "mix"
IN_USE = {STOP: ("--in-use", "stop", "--yes"), SNAPSHOT: ("--in-use", "snapshot")}
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
    servers: int = 0
    servers_off: int = 0
    destroyed: int = 0
    copies: int = 0  #: snapshots and temporary volumes that were made
    left_behind: int = 0  #: of these, and not named; and what was deleted that was not ours
    named: int = 0  #: rows without an image that say why
    struck: Counter[str] = field(default_factory=Counter)  #: faults of the weather, by name
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
        self.servers += other.servers
        self.servers_off += other.servers_off
        self.destroyed += other.destroyed
        self.copies += other.copies
        self.left_behind += other.left_behind
        self.named += other.named
        self.struck += other.struck
        self.violations += other.violations


def one_list(
    seed: str,
    *,
    most_kills: int,
    weather: str = FAIR,
    in_use: str | None = None,
    sizes: tuple[int, int] | None = None,
) -> Toll:
    """What comes of one list that is killed at most so often. `sizes`: how many volumes it may have.

    `in_use`: what becomes of volumes of servers; None = there are no servers in fair weather, and they are
    stopped in any other.
    """
    drawn = random.Random(seed)
    volumes = drawn.randint(*(sizes or (SIZES if weather == FAIR else SIZES_UNDER_WEATHER)))
    toll = Toll(lists=1, volumes=volumes)
    faults = ("--share", f"{drawn.uniform(0, 0.5):.2f}", "--fail-share", f"{drawn.uniform(0, 0.1):.2f}")
    pace = [
        *("--requests-per-second", drawn.choice(("0", "60", "200"))),
        *("--max-exports", drawn.choice(("8", "40", "1000"))),
        *("-j", drawn.choice(("2", "16", "50"))),
    ]
    with TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        cloud_seed = ("--seed", str(drawn.getrandbits(30)))
        servers: dict[str, list[str]] = {}
        held: list[str] = []
        if in_use is not None or weather != FAIR:
            policy = drawn.choice((STOP, SNAPSHOT)) if in_use == MIX else in_use or STOP
            pace += IN_USE[policy]
            servers = _drawn_servers(drawn, drawn_volumes(seed, volumes))
            (folder / "servers.json").write_text(json.dumps(servers))
            held = ["--servers", str(folder / "servers.json")]
            toll.servers = len(servers)
        if weather == FAIR:
            with flaky_cloud(folder, *faults, *cloud_seed, *held) as cloud:
                site = Site(folder, cloud, volumes=volumes, seed=seed)
                _in_fair_weather(toll, site, drawn, pace, most_kills)
        else:
            sky = [*_sky(folder, drawn, weather), *held]
            faults = (
                "--share",
                f"{drawn.uniform(0, 0.2):.2f}",
                "--fail-share",
                f"{drawn.uniform(0, 0.1):.2f}",
            )
            with flaky_cloud(folder, *faults, *cloud_seed, *sky) as cloud:
                site = Site(folder, cloud, volumes=volumes, seed=seed)
                _under_weather(toll, site, drawn, pace, most_kills, servers)
    toll.violations = [f"list {seed}: {text}" for text in toll.violations]
    return toll


def _in_fair_weather(
    toll: Toll, site: Site, drawn: random.Random, options: Sequence[str], most_kills: int
) -> None:
    cloud = site.cloud
    try:
        for trap in torment(site, drawn, *options, most_kills=most_kills):
            toll.kills[trap.point] += 1
        copied = "snapshot" in options
        toll.violations = violations(site.state_path, site.volume_ids, cloud, in_use_is_copied=copied)
        toll.lost_rows = lost_rows(site.state_path, site.volume_ids)
    except Exception as error:  # one list that breaks must not hide what the others show
        toll.violations = [f"{type(error).__name__}: {error}"]
    toll.lost_answers = cloud.lost_answers()
    copies = Copies.of(cloud.events())
    toll.copies, toll.left_behind = len(copies.made), len(list(copies.violations(named=())))
    toll.images = sum(image.status == "active" for image in cloud.images())
    toll.duplicates = duplicates_in(cloud)


def _under_weather(
    toll: Toll,
    site: Site,
    drawn: random.Random,
    options: Sequence[str],
    most_kills: int,
    servers: Mapping[str, Sequence[str]],
) -> None:
    try:
        for trap in torment(site, drawn, *options, most_kills=most_kills, good=FINISHED):
            toll.kills[trap.point] += 1
    except Exception as error:  # one list that breaks must not hide what the others show
        toll.violations.append(f"{type(error).__name__}: {error}")
        if not site.state_path.exists():
            return
    toll.lost_answers = site.cloud.lost_answers()
    counts = site.cloud.stop()
    toll.struck = Counter(
        {
            name.removeprefix("weather:"): count
            for name, count in counts.items()
            if name.startswith("weather:")
        }
    )
    held = [SandboxServer(server_id=each, name=each, volume_ids=of) for each, of in servers.items()]
    evidence = Evidence.of(site.cloud.events(), held)
    found = verdict(report_of(site.state_path), site.volume_ids, evidence)
    toll.images = sum(
        any(evidence.is_good(export) for export in evidence.exports.get(volume_id, ()))
        for volume_id in site.volume_ids
    )
    toll.duplicates, toll.lost_rows, toll.named = found.doubles, found.lost_rows, found.named
    toll.servers_off, toll.destroyed = found.servers_off, found.destroyed
    toll.copies, toll.left_behind = len(evidence.copies.made), found.left_behind
    toll.violations += found.words
    if "snapshot" in options:
        toll.violations += servers_stopped(site.cloud.events())


def _drawn_servers(drawn: random.Random, volume_ids: Sequence[str]) -> dict[str, list[str]]:
    """Servers with one or two volumes each, for a third of the lists' volumes; some share one."""
    held = drawn.sample(volume_ids, len(volume_ids) // 3)
    servers: dict[str, list[str]] = {}
    while held:
        server_id = str(uuid.UUID(int=drawn.getrandbits(128), version=4))
        servers[server_id] = [held.pop() for _ in range(min(len(held), drawn.choice((1, 1, 2))))]
    names = list(servers)
    if len(names) > 1 and drawn.random() < 0.5:
        servers[names[0]].append(servers[names[1]][0])
    return servers


def _sky(folder: Path, drawn: random.Random, weather: str) -> list[str]:
    """The arguments of the cloud for this weather."""
    if weather == RANDOM:
        chosen = [name for name in FAULTS if drawn.random() < SHARE_OF_FAULTS]
        others = [f"{name} = false" for name in FAULTS if name not in chosen]
        path = folder / "weather.toml"
        path.write_text("\n".join(['base = "storm"', *others]) + "\n")
        weather = str(path)
    return ["--weather", weather, "--weather-pace", str(PACE)]


def torture(
    seed: int,
    kills: int,
    *,
    at_once: int,
    deadline_s: float,
    weather: str = FAIR,
    in_use: str | None = None,
    sizes: tuple[int, int] | None = None,
) -> Toll:
    """What comes of as many lists as it takes for so many kills, or as there is time for."""
    total = Toll()
    give_up_at = time.monotonic() + deadline_s

    def lists_of(lane: int) -> None:
        number = 0
        while (left := kills - total.kills.total()) > 0 and time.monotonic() < give_up_at:
            number += 1
            share = max(1, left // at_once)
            most_kills = min(MOST_KILLS_OF_ONE_LIST, share)
            came_of = one_list(
                f"{seed}-{lane}-{number}", most_kills=most_kills, weather=weather, in_use=in_use, sizes=sizes
            )
            total.add(came_of)
            words = [f"{total.kills.total()} kills, {total.lists} lists", *came_of.violations]
            print("\n".join(words), file=sys.stderr, flush=True)

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
    if toll.copies:
        lines[4:4] = [f"{toll.copies} snapshots and temporary volumes, {toll.left_behind} left or not ours"]
    if toll.struck:
        struck = ", ".join(f"{name} {times}" for name, times in sorted(toll.struck.items()))
        lines[4:4] = [
            f"{toll.servers} servers, {toll.servers_off} left off unnamed",
            f"{toll.destroyed} good images destroyed, {toll.named} rows without an image that say why",
            f"weather: {struck}",
        ]
    return "\n".join([*lines, *toll.violations])


def table(toll: Toll, took_s: float) -> str:
    """The same for docs/reliability.md."""
    rows = [
        ("kills", f"{toll.kills.total():,}"),
        ("answers lost", f"{toll.lost_answers:,}"),
        ("lists, volumes, servers", f"{toll.lists:,}, {toll.volumes:,}, {toll.servers:,}"),
        ("volumes with a whole image", f"{toll.images:,}"),
        ("rows without one that say why", f"{toll.named:,}"),
        ("volumes with two images", f"**{toll.duplicates:,}**"),
        ("rows lost", f"**{toll.lost_rows:,}**"),
        ("servers left off and not named", f"**{toll.servers_off:,}**"),
        ("good images destroyed", f"**{toll.destroyed:,}**"),
        ("snapshots and temporary volumes made", f"{toll.copies:,}"),
        ("of these left behind and not named, or deleted and not ours", f"**{toll.left_behind:,}**"),
        ("other violations", f"**{len(toll.violations):,}**"),
        *(
            (f"weather: {name.replace('_', ' ')}", f"{times:,}")
            for name, times in sorted(toll.struck.items())
        ),
        ("time", f"{took_s / 60:.0f} minutes"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where nothing was violated and all kills were made."""
    parser = argparse.ArgumentParser(prog="torture")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--weather", default=FAIR, help="a name, a file, or `random`")
    parser.add_argument("--in-use", choices=(*IN_USE, MIX), help="what becomes of volumes of servers")
    parser.add_argument("--sizes", type=int, nargs=2, metavar=("FEWEST", "MOST"), help="volumes of a list")
    parser.add_argument("--table", action="store_true", help="print a table for docs/reliability.md, too")
    parser.add_argument("--at-once", type=int, default=4, help="lists worked on at the same time")
    parser.add_argument("--deadline-s", type=float, default=3600.0, help="begin no list after so long")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="how much slower than an idle machine this one may be"
    )
    chosen = parser.parse_args(arguments)
    sites.LONGEST_RUN_S *= chosen.patience
    clouds.START_S *= chosen.patience
    print(f"seed {chosen.seed}", file=sys.stderr, flush=True)
    began = time.monotonic()
    toll = torture(
        chosen.seed,
        chosen.kills,
        at_once=chosen.at_once,
        deadline_s=chosen.deadline_s,
        weather=chosen.weather,
        in_use=chosen.in_use,
        sizes=tuple(chosen.sizes) if chosen.sizes else None,
    )
    took_s = time.monotonic() - began
    print(summary(chosen.seed, toll, took_s))
    if chosen.table:
        print(table(toll, took_s))
    return 1 if toll.violations or toll.kills.total() < chosen.kills else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

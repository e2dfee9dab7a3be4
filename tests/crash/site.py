"""One list of volumes, and the command that works on it, as often as it takes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.cloud import ROOT, FlakyCloud
from tests.crash.invariants import damage
from tests.crash.killed_at import NEVER

#: Twice the longest time for which the cloud holds a request back, and then some.
SETTLE_S = 0.7
#: No command of a scenario takes as long when it is right.
LONGEST_RUN_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Where a process is to be killed: `killed_at` knows the points."""

    point: str = NEVER
    times: int = 1

    def __str__(self) -> str:
        return f"{self.point} {self.times}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; a negative exit code is the signal that killed it."""

    exit_code: int
    talk: str

    @property
    def killed(self) -> bool:
        """Whether it was killed and did not end by itself."""
        return self.exit_code == -signal.SIGKILL


def drawn_volumes(seed: int | str, volumes: int) -> list[str]:
    """The volumes of the list that this seed stands for."""
    drawn = random.Random(seed)
    return [str(uuid.UUID(int=drawn.getrandbits(128), version=4)) for _ in range(volumes)]


class Site:
    """A folder with a job list, and how to run it against a cloud."""

    def __init__(self, folder: Path, cloud: FlakyCloud, *, volumes: int, seed: int | str) -> None:
        self.volume_ids = drawn_volumes(seed, volumes)
        self.cloud = cloud
        self.folder = folder
        self.environment = dict(cloud.environment)
        self.state_path = folder / "volumes.state"
        (folder / "volumes.csv").write_text("volume_id\n" + "\n".join(self.volume_ids) + "\n")

    @contextmanager
    def process(
        self, *options: str, trap: Trap = Trap(), driver: tuple[str, ...] = ()
    ) -> Iterator[subprocess.Popen[str]]:
        """The command under way, with these further options; killed if it is still there at the end."""
        trapped = ("tests.crash.killed_at", *driver, trap.point, str(trap.times), "--", "run")
        with self.plain_process(*trapped, "volumes.csv", *HASTY, *options) as running:
            yield running

    @contextmanager
    def plain_process(self, module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Any module's program under way in the folder of the list."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith("OS_")}
        with subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=environment | self.environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def run(self, *options: str, trap: Trap = Trap(), driver: tuple[str, ...] = ()) -> Ended:
        """The command from its start to its end. Raises AssertionError if that left a damaged state file."""
        with self.process(*options, trap=trap, driver=driver) as process:
            return self.end_of(process)

    def end_of(self, process: subprocess.Popen[str]) -> Ended:
        """How the process ended, once it has. Raises AssertionError if it left a damaged state file."""
        talk, _ = process.communicate(timeout=LONGEST_RUN_S)
        assert damage(self.state_path) is None, damage(self.state_path)
        return Ended(process.returncode, talk)


#: As fast as it goes, and never tired of a row: in the end every one must be an image.
HASTY = (
    *("--requests-per-second", "0", "--max-exports", "1000", "--retries", "100"),
    *("--poll-interval", "0.1", "--settle-time", str(SETTLE_S)),
)

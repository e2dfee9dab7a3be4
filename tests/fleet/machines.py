"""A fleet of real processes: clouds that each are a sandbox of its own, workers, and one database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchexport.model import JobState
from batchexport.store.fleet import RunTarget, SubmittedRun
from batchexport.store.postgres import fleet
from batchexport.store.postgres.reference import DatabasePath

PACE = ("--requests-per-second", "15", "--poll-interval", "0.5")
_ROOT = Path(__file__).parents[2]


class Machines:
    """Everything of one fleet; what is left of it ends with the context."""

    def __init__(self, folder: Path, database: DatabasePath) -> None:
        self.folder = folder
        self.database = database
        self.workers: dict[str, subprocess.Popen[str]] = {}
        self._clouds: dict[str, subprocess.Popen[str]] = {}
        self._started: list[subprocess.Popen[str]] = []
        self.volumes: list[str] = []

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *ending: object) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def start(self, *words: str, log: str) -> subprocess.Popen[str]:
        """The program, with what it says in a file of this name."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OS_", "BATCHEXPORT_"))
        }
        with (self.folder / f"{log}.log").open("a") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "batchexport", *words],
                cwd=self.folder,
                env=environment | {"PYTHONPATH": str(_ROOT), "BATCHEXPORT_DATABASE": str(self.database)},
                stdout=said,
                stderr=said,
                text=True,
            )
        self._started.append(process)
        return process

    def call(self, *words: str) -> str:
        """What a command prints that ends by itself, with 0."""
        environment = os.environ | {"PYTHONPATH": str(_ROOT), "BATCHEXPORT_DATABASE": str(self.database)}
        done = subprocess.run(
            [sys.executable, "-m", "batchexport", *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def add_clouds(self, *names: str, time_scale: float = 0.005, are_empty: bool = False) -> None:
        """Sandboxes under these names in the clouds.yaml of all workers; empty ones lack every volume."""
        for name in names:
            files = ("--journal", f"{name}.journal", "--write-clouds-yaml", f"{name}.yaml")
            ways = ("--time-scale", str(time_scale), *(("--volumes", "1") if are_empty else ()))
            self._clouds[name] = self.start("sandbox", *files, *ways, log=name)
        text = "clouds:\n"
        for name in names:
            wait_until((self.folder / f"{name}.yaml").exists)
            lines = (self.folder / f"{name}.yaml").read_text().splitlines(keepends=True)
            place = next(number for number, line in enumerate(lines) if line.startswith("  sandbox:"))
            text += "".join([lines[place].replace("sandbox", name), *lines[place + 1 :]])
        (self.folder / "clouds.yaml").write_text(text)

    def submit(self, run: str, rows: int, clouds: Sequence[str], *more: str) -> None:
        """Submit a list of so many volumes on each of these clouds."""
        lines = ["volume_id,cloud"]
        for cloud in clouds:
            ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{run}-{cloud}-{number}")) for number in range(rows)]
            lines += [f"{volume_id},{cloud}" for volume_id in ids]
            self.volumes += ids
        (self.folder / f"{run}.csv").write_text("\n".join(lines) + "\n")
        self.call("submit", f"{run}.csv", "--os-cloud", clouds[0], *PACE, *more)

    def add_worker(self, name: str, *more: str) -> subprocess.Popen[str]:
        """One more worker."""
        self.workers[name] = self.start("worker", "-v", "--name", name, *more, log=name)
        return self.workers[name]

    def run(self, name: str) -> SubmittedRun:
        """How a run stands."""
        return next(run for run in fleet.submitted_runs(self.database) if run.run_name == name)

    def held_by(self, name: str) -> list[RunTarget]:
        """What a worker holds, of all runs."""
        pid = self.workers[name].pid
        return [
            target
            for run in fleet.submitted_runs(self.database)
            for target in run.targets
            if target.owner is not None and target.owner.pid == pid
        ]

    def holder(self, run: str) -> str | None:
        """Which worker holds a target of the run."""
        pids = {target.owner.pid for target in self.run(run).targets if target.owner is not None}
        return next((name for name, process in self.workers.items() if process.pid in pids), None)

    def done(self, run: str) -> int:
        """Rows of the run that have succeeded."""
        return sum(target.jobs.get(JobState.SUCCEEDED, 0) for target in self.run(run).targets)

    def exports(self) -> Counter[str]:
        """How many exports of each volume the clouds accepted, by their own record."""
        events: list[dict[str, Any]] = []
        for name in self._clouds:
            lines = (self.folder / f"{name}.journal").read_text().splitlines()
            events += [json.loads(line) for line in lines if line.endswith("}")]
        return Counter(event["volume_id"] for event in events if event.get("event") == "export")

    def log(self, name: str) -> str:
        """What a process said."""
        return (self.folder / f"{name}.log").read_text()


def wait_until(is_so: Callable[[], Any], timeout_s: float = 90.0) -> float:
    """How long it took until it was so, seconds."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.05)
    return time.monotonic() - began

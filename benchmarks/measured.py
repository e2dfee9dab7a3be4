"""Processes and what they cost: CPU of user and system, time by the clock, most memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
#: As the installed program does it: the module by its name, compiled already.
PROGRAM = (sys.executable, "-m", "batchexport")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process took."""

    cpu_s: float
    wall_s: float
    peak_mib: float


def run(words: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Cost:
    """The cost of a process that ends well. Raises CalledProcessError for another, after its last words."""
    # By a small process between: the kernel counts the memory of who starts a program as the program's own.
    meter = (sys.executable, "-S", __file__, *words)
    said = subprocess.check_output(meter, env={**os.environ, **(env or {})}, cwd=cwd)
    return Cost(**json.loads(said))


def _run(words: Sequence[str]) -> Cost:
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(words)}: exit {process.returncode}: {said.read()[-800:]!r}")
    return Cost(
        cpu_s=used.ru_utime + used.ru_stime,
        wall_s=time.monotonic() - began,
        peak_mib=used.ru_maxrss / 1024,
    )


class Target:
    """The running target, and what it counted."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.env = {
            "OS_AUTH_URL": f"{self.address}/v3",
            "OS_USERNAME": "u",
            "OS_PASSWORD": "p",
            "OS_PROJECT_NAME": "p",
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
        }

    def set(self, **values: float) -> None:
        """Forget what was asked, and behave like this from now on."""
        defaults = {"delay": 0.0, "rate": 0.0, "burst": 2.0, "volumes": 0.0} | values
        query = "&".join(f"{name}={value}" for name, value in defaults.items())
        urlopen(f"{self.address}/set?{query}").read()

    def count(self) -> dict[str, float]:
        """Requests, exports, exports made twice and rejected ones, and when the first and the last came."""
        counted: dict[str, float] = json.load(urlopen(f"{self.address}/count"))
        return counted


@contextmanager
def target() -> Iterator[Target]:
    """A target of its own for each benchmark, in a process of its own."""
    process = subprocess.Popen([sys.executable, HERE / "target.py"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Target(int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    print(json.dumps(asdict(_run(sys.argv[1:]))))

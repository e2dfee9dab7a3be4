"""The command line as a real process: started, fed, limited and read from outside."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import openstack.config  # noqa: F401  # notes the current folder when it is imported: not that of some test
from click.testing import CliRunner

from batchexport.cli.program import app

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).parent / "drivers"
#: Every exit code that the help of the program promises.
DOCUMENTED = frozenset({0, 2, 3, 4, 5, 6, 74, 129, 130, 131, 143})
#: A run that looks often and sends as fast as it can: for clouds that copy at once.
QUICK = ("--requests-per-second", "0", "--poll-interval", "0.2s", "--settle-time", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that has ended, with all it said."""

    code: int
    out: str
    err: str

    def check(self, code: int) -> Ended:
        """The same, after a look at what must hold for every end."""
        said = f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"
        assert self.code == code, said
        assert "Traceback" not in self.err + self.out, said
        # Between these two the commands say themselves what is wrong: as a summary, or by a signal.
        if code not in (0, 3, 129, 130, 131, 143):
            assert re.search(r'^(error:|Error:|{.*"level": "error")', self.err, re.MULTILINE), said
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Starts `batchexport` in a folder of its own, with an environment of its own."""

    folder: Path
    env: Mapping[str, str]

    def start(
        self,
        *words: str,
        driver: str | None = None,
        extra: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        preexec: Callable[[], None] | None = None,
    ) -> subprocess.Popen[str]:
        """A process under way. A driver is a script that changes its surroundings first."""
        begin = ["-m", "batchexport"] if driver is None else [str(DRIVERS / driver)]
        return subprocess.Popen(
            [sys.executable, *begin, *words],
            cwd=self.folder,
            env={**self.env, **(extra or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )

    def run(
        self,
        *words: str,
        driver: str | None = None,
        extra: Mapping[str, str] | None = None,
        text: str | None = None,
        preexec: Callable[[], None] | None = None,
        within_s: float = 30.0,
    ) -> Ended:
        """What became of one command. One that hangs is killed and fails the test."""
        stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
        process = self.start(*words, driver=driver, extra=extra, stdin=stdin, preexec=preexec)
        return finish(process, text=text, within_s=within_s)


def finish(process: subprocess.Popen[str], *, text: str | None = None, within_s: float = 30.0) -> Ended:
    """The end of a process, which must come in time."""
    try:
        out, err = process.communicate(text, timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"no end within {within_s:g} s\n{out}\n{err}") from None
    return Ended(code=process.returncode, out=out, err=err)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The same commands inside this process, fast: for what needs neither signals nor descriptors."""

    folder: Path
    env: Mapping[str, str]

    def run(self, *words: str, extra: Mapping[str, str] | None = None, text: str | None = None) -> Ended:
        """What became of one command."""
        foreign: dict[str, str | None] = {
            name: None for name in os.environ if name.startswith(("OS_", "BATCHEXPORT_"))
        }
        foreign["BATCHEXPORT_SIGN_IN_TIMEOUT"] = "0"
        # openstacksdk notes the current folder once and for all when it is imported.
        file = {"OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml")}
        logger = logging.getLogger("batchexport")
        handlers, level = logger.handlers, logger.level
        try:
            with chdir(self.folder):
                runner = CliRunner(env={**foreign, **file, **self.env, **(extra or {})})
                result = runner.invoke(app, words, input=text)
        finally:
            logger.handlers, logger.level = handlers, level
        return Ended(code=result.exit_code, out=result.stdout, err=result.stderr)


#: A cloud that is away is away for the test.
ONE_SIGN_IN = {"BATCHEXPORT_SIGN_IN_TIMEOUT": "0"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment in which no variable of the tester's own has a say."""
    mine = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {
        **mine,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
        **ONE_SIGN_IN,
        **more,
    }


def until(happened: Callable[[], object], *, within_s: float = 15.0) -> None:
    """Return as soon as it has happened."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def volume_ids(count: int) -> list[str]:
    """So many volumes that the sandbox will make up."""
    return [f"00000000-0000-4000-8000-{number:012x}" for number in range(1, count + 1)]


def write_list(path: Path, volumes: Sequence[str] | int) -> list[str]:
    """A job list of these volumes, or of so many."""
    listed = volume_ids(volumes) if isinstance(volumes, int) else list(volumes)
    path.write_text("\n".join(["volume_id", *listed]) + "\n")
    return listed

"""What is to be started, and when: all that a unit, a crontab or a manifest is made from."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

import msgspec

from batchexport.schedule import Schedule
from batchexport.window import Window

#: Kubernetes puts 11 characters of its own behind the name of a CronJob, and takes 63.
_MAX_NAME = 52
_PREFIX = "batchexport-"
_MARK = "# Job file: "


class StartOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One job file with its schedule."""

    job_path: Path  #: absolute, and printable: a line break in it would begin a line of somebody's choice
    schedule: Schedule
    window: Window | None
    program: tuple[str, ...]  #: how batchexport is called here
    stops_servers: bool = False  #: a drain waits for exports, to start them again
    writes_to: tuple[Path, ...] = ()  #: the folders of state files and reports; absolute
    clouds_path: Path | None = None  #: the clouds.yaml to use, whatever the folder of the job holds

    @property
    def name(self) -> str:
        """A name that units and manifests may have: lower case letters, digits and hyphens.

        Where that is not the name of the job file, a few digits of its own tell it from others like it.
        """
        stem = self.job_path.stem
        letters = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")
        if plain == stem and len(_PREFIX + plain) <= _MAX_NAME:
            return _PREFIX + plain
        digits = hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()[:6]
        readable = f"{_PREFIX}{plain or 'job'}"[: _MAX_NAME - 7].rstrip("-")
        return f"{readable}-{digits}"

    @property
    def mark(self) -> str:
        """The line by which an emitted file tells whose it is."""
        return f"{_MARK}{self.job_path}"

    def is_mine(self, text: str) -> bool:
        """Whether a file that was emitted earlier starts this job, as far as it tells."""
        marks = [line for line in text.splitlines() if line.startswith(_MARK)]
        if marks:
            return marks == [self.mark]
        # Of an earlier version: what names a job file at all names its path.
        return ".toml" not in text or str(self.job_path) in text or self.job_path.name in text

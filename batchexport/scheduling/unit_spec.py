"""What to start and when: the input for systemd units, a crontab or a Kubernetes manifest."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

import msgspec

from batchexport.scheduling.cron import Schedule
from batchexport.scheduling.window import Window

#: Kubernetes puts 11 characters of its own behind the name of a CronJob, and takes 63.
_MAX_NAME = 52
_PREFIX = "batchexport-"
_MARK = "# Job file: "


class UnitSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One job file with its schedule."""

    job_path: Path  #: absolute and printable: a line break could inject a line into the emitted file
    schedule: Schedule
    window: Window | None
    program: tuple[str, ...]  #: the command that runs batchexport on this host
    stops_servers: bool = (
        False  #: True = stopping it takes as long as its exports, because it restarts servers
    )
    writes_to: tuple[Path, ...] = ()  #: absolute folders of state files and reports
    clouds_path: Path | None = None  #: the clouds.yaml to pin with OS_CLIENT_CONFIG_FILE; None = not pinned

    @property
    def name(self) -> str:
        """A name that is valid for units and manifests: lower-case letters, digits and hyphens.

        A job file name that had to be changed gets a short hash, so that two of them cannot collide.
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
        """The comment that says which job file an emitted file belongs to."""
        return f"{_MARK}{self.job_path}"

    def is_mine(self, text: str) -> bool:
        """Whether an emitted file belongs to this job, as far as it says."""
        marks = [line for line in text.splitlines() if line.startswith(_MARK)]
        if marks:
            return marks == [self.mark]
        # Written by an earlier version, without the comment: it names the path of its job file.
        return ".toml" not in text or str(self.job_path) in text or self.job_path.name in text

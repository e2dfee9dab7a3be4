"""What is to be started, and when: all that a unit, a crontab or a manifest is made from."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from batchexport.schedule import Schedule
from batchexport.window import Window


class StartOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One job file with its schedule."""

    job_path: Path  #: absolute
    schedule: Schedule
    window: Window | None
    program: tuple[str, ...]  #: how batchexport is called here

    @property
    def name(self) -> str:
        """A name that units and manifests may have: lower case letters, digits and hyphens."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.job_path.stem.lower()).strip("-")
        # Kubernetes puts 11 characters of its own behind the name of a CronJob, and takes 63.
        return f"batchexport-{plain or 'job'}"[:52].rstrip("-")

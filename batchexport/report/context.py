"""Where a run took place and how it ended: cloud, job, host, exit code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote

import msgspec

from batchexport.errors import EXIT_CODES
from batchexport.identity import CloudIdentity
from batchexport.model import TargetKey
from batchexport.shell_command import on_state_file
from batchexport.store import Reader

#: A command in an advice: one of ours with its options, or one that names a volume.
_COMMAND = re.compile(
    r"batchexport (retry|reconcile|cleanup|verify)((?: --[a-z-]+(?: stop)?)*)"
    r"|openstack volume set --state available ID"
)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run took place and how its last process ended. None = not known."""

    state_file: str
    clouds: Sequence[tuple[TargetKey, CloudIdentity | None]]  #: of each target, as authentication found it
    job: str | None
    host: str | None
    running: bool
    exit_code: int | None  #: of the last process; None = it is running, or crashed
    error: str | None  #: what ended the last process; None = it ended by itself

    @property
    def places(self) -> list[str]:
        """The clouds by name, each once."""
        return list(dict.fromkeys(_place(key, identity) for key, identity in self.clouds))

    @property
    def how_it_ended(self) -> str | None:
        """The exit code with its meaning; None if there is none."""
        if self.exit_code is None:
            return None
        found = EXIT_CODES.get(self.exit_code)
        return f"{self.exit_code} ({found.meaning})" if found else str(self.exit_code)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is known, as (name, value)."""
        places = self.places
        found = [
            ("cloud" if len(places) == 1 else "clouds", "; ".join(places)),
            ("job", self.job),
            ("host", self.host),
            ("exit code", self.how_it_ended),
            ("error", self.error),
            ("state file", self.state_file),
        ]
        return [(name, words) for name, words in found if words]

    @property
    def cloud_name(self) -> str | None:
        """The value of --os-cloud for this run; None if it has no single cloud."""
        names = {identity.cloud for _, identity in self.clouds if identity is not None}
        if len(names) != 1 or (name := names.pop()) is None:
            return None
        return name

    def advised(self, advice: str, volume_ids: Sequence[str] = ()) -> list[tuple[str, bool]]:
        """The advice in pieces, its commands (True) as they can be pasted into a shell.

        A command that names a volume is repeated for each of these; without any it stays as it is.
        """
        pieces, last = list[tuple[str, bool]](), 0
        for found in _COMMAND.finditer(advice):
            pieces.append((advice[last : found.start()], False))
            if found[1] is None:
                for place, volume_id in enumerate(volume_ids or ["ID"]):
                    pieces += [("; ", False)] if place else []
                    pieces.append((found[0].replace("ID", quote(volume_id)), True))
            else:
                options = found[2] + (" --yes" if "--in-use stop" in found[2] else "")
                pieces.append((self.command(found[1], options), True))
            last = found.end()
        return [piece for piece in (*pieces, (advice[last:], False)) if piece[0]]

    def command(self, name: str, options: str = "") -> str:
        """A command on this state file, as it can be pasted into a shell."""
        return on_state_file(name, self.state_file, options, cloud=self.cloud_name)


def context_of(reader: Reader) -> Context:
    """The context of the run of a state file."""
    processes = reader.processes()
    holders, end = processes.holders, processes.last_end
    last_began_at = max((period.began_at for period in processes.periods), default=0.0)
    known = end is not None and end.ended_at >= last_began_at and not holders
    return Context(
        state_file=str(reader.path),
        clouds=[(target.key, target.identity) for target in reader.overview().targets],
        job=None if end is None else end.job,
        host=holders[0].owner.host if holders else None if end is None else end.host,
        running=processes.running,
        exit_code=end.exit_code if end is not None and known else None,
        error=end.error if end is not None and known else None,
    )


def context_json(context: Context) -> dict[str, object]:
    """The context for JSON."""
    return {
        "state_file": context.state_file,
        "job": context.job,
        "host": context.host,
        "running": context.running,
        "exit_code": context.exit_code,
        "error": context.error,
        "clouds": [
            {
                "target": str(key),
                "cloud": identity.cloud if identity else key.cloud,
                "region": identity.region if identity else key.region,
                "project": identity.project if identity else key.project,
                "project_id": identity.project_id if identity else None,
            }
            for key, identity in context.clouds
        ],
    }


def _place(key: TargetKey, identity: CloudIdentity | None) -> str:
    if identity is None:
        return str(key)
    if identity.is_sandbox:
        return str(identity)
    project = identity.project_name or identity.project_id
    parts = [
        identity.cloud,
        identity.region and f"region {identity.region}",
        project and f"project {project}",
    ]
    return ", ".join(part for part in parts if part) or str(identity)

"""The commands around the snapshots of a server: `before` and `after` of `[snapshot]` in a job file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchexport.host_command import HostCommand, parse_command
from batchexport.quiesce import QuiesceCommands

if TYPE_CHECKING:
    from batchexport.config.values import Table

#: How long each may take, and the snapshots between them.
_DEFAULT = QuiesceCommands()
DEFAULT_TIMEOUT_S = HostCommand(arguments=("true",)).timeout_s


def quiesce_from(table: Table) -> QuiesceCommands | None:
    """The commands that the table names; None = none. What is wrong becomes problems of the table."""
    timeout_s = table.duration("timeout", above=0) or DEFAULT_TIMEOUT_S
    hold_s = table.duration("hold", above=0) or _DEFAULT.hold_s
    before, after = (table.read(name, parse_command) for name in ("before", "after"))
    commands = QuiesceCommands(
        before=None if before is None else HostCommand(arguments=before, timeout_s=timeout_s),
        after=None if after is None else HostCommand(arguments=after, timeout_s=timeout_s),
        hold_s=hold_s,
    )
    if not commands:
        for key in ("timeout", "hold"):
            if table.has(key):
                table.problem(key, "is for before and after: set one of them, or leave it out")
    return commands or None

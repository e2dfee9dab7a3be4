"""Hooks: commands of the user's around a run and around each row; the `[hooks]` table of a job file."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from batchexport.config.values import Table


class HookPolicy(StrEnum):
    """What the failure of a hook means."""

    FAIL = "fail"  #: before: the run does not start, the row fails. After: the exit code is 3
    CONTINUE = "continue"  #: a warning, and nothing else


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """The commands, each as program and arguments; None = nothing is run then."""

    before_run: tuple[str, ...] | None = None
    after_run: tuple[str, ...] | None = None
    before_row: tuple[str, ...] | None = None
    after_row: tuple[str, ...] | None = None
    timeout_s: float = 60.0  #: for each; then it is killed
    on_failure: HookPolicy = HookPolicy.FAIL
    max_parallel: int = 4  #: hooks of rows that run at once

    @property
    def of_rows(self) -> bool:
        """Whether there is something to do around rows."""
        return self.before_row is not None or self.after_row is not None


def hooks_from(table: Table) -> Hooks:
    """What the table asks for. What is wrong with it becomes problems of the table."""
    from batchexport.host_command import parse_command

    commands = {
        name: table.read(name, parse_command)
        for name in ("before_run", "after_run", "before_row", "after_row")
    }
    timeout_s = table.duration("timeout", above=0)
    return Hooks(
        **commands,
        timeout_s=Hooks().timeout_s if timeout_s is None else timeout_s,
        on_failure=table.read("on_failure", _policy) or HookPolicy.FAIL,
        max_parallel=table.integer("max_parallel", minimum=1) or Hooks().max_parallel,
    )


def _policy(value: object) -> HookPolicy:
    words = [each.value for each in HookPolicy]
    if value not in words:
        raise ValueError(f"{value!r} is not known; allowed: {', '.join(words)}")
    return HookPolicy(str(value))

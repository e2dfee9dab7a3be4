"""What is left to do after a run: by whom, why, and with which command.

The last lines of a run, the reports and the notifications all show these actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from shlex import quote

import msgspec

from batchexport.deliveries import DeliveryCounts
from batchexport.model import JobState
from batchexport.report.advice import CLOUD_ADMINISTRATOR, OPERATOR, STUCK_CODES
from batchexport.report.text import count_of
from batchexport.report.totals import Totals
from batchexport.shell_command import on_state_file
from batchexport.store import Abandoned, Reader, count_deliveries

#: Volumes for which a command is given; the rows of the report name them all.
MAX_COMMANDS = 5


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do."""

    who: str  #: who is able to do it
    why: str  #: what it does, or what is wrong
    commands: Sequence[str]  #: each can be pasted into a shell


def actions_after(
    totals: Totals,
    state_file: str,
    cloud: str | None,
    *,
    running: bool = False,
    servers_down: int = 0,
    copies: int = 0,
    unfinished: int = 0,
    stalled: int = 0,
    doubtful: bool = False,
    stuck: Sequence[str] = (),
    stuck_rows: int = 0,
    delivered: DeliveryCounts | None = None,
) -> list[Action]:
    """The actions, most urgent first; empty if nothing is left to do.

    `cloud` is what --os-cloud has to name, None = nothing. `unfinished` counts images of failed attempts that
    may be left, `stalled` exports past their deadline, `stuck_rows` rows whose volume only an administrator
    can free; `stuck` are the first of these volumes. `delivered` tells how far the deliveries are. A run that
    is still `running` releases what it holds, and exports and delivers the remaining rows by itself.
    """
    rows = totals.rows
    found: list[Action] = []

    def add(why: str, *commands: str, who: str = OPERATOR) -> None:
        found.append(Action(who=who, why=why, commands=commands))

    def command(name: str, options: str = "", *, signs_in: bool = True) -> str:
        return on_state_file(name, state_file, options, cloud=cloud if signs_in else None)

    if servers_down and not running:
        servers = "the server that is" if servers_down == 1 else f"the {servers_down:,} servers that are"
        add(f"start {servers} still stopped", command("servers", " --start"))
    if copies and not running:
        left = "1 temporary copy" if copies == 1 else f"{copies:,} temporary copies"
        add(f"delete {left}", command("resources", " --release"))
    if totals.to_do and not running:
        add(
            f"resume: {count_of(totals.to_do, 'row')} to do; the command that started the run does the same",
            command("resume"),
        )
    elif delivered and delivered.open and not running:
        add(f"deliver {count_of(delivered.rows_open, 'exported row')}", command("resume"))
    if stalled:
        exports = count_of(stalled, "export")
        add(f"end {exports} past the deadline", command("give-up", " --stalled", signs_in=False))
    if stuck:
        volumes = count_of(stuck_rows, "volume")
        frees = [
            f"openstack volume set --state available {quote(volume_id)}" for volume_id in stuck[:MAX_COMMANDS]
        ]
        add(f"free {volumes} left uploading, for a retry", *frees, who=CLOUD_ADMINISTRATOR)
    if rows[JobState.AMBIGUOUS]:
        ambiguous = count_of(rows[JobState.AMBIGUOUS], "ambiguous row")
        add(
            f"find out whose the images of {ambiguous} are",
            command("report", " --only ambiguous", signs_in=False),
        )
        add("settle them, once the surplus images are removed", command("reconcile"))
    if rows[JobState.FAILED]:
        failed = count_of(rows[JobState.FAILED], "failed row")
        add(f"retry {failed}, once the causes are removed", command("retry"))
    elif delivered and delivered.failed:
        some = "1 delivery" if delivered.failed == 1 else f"{delivered.failed:,} deliveries"
        add(f"retry {some} that failed, once the causes are removed", command("retry"))
    if doubtful:
        add("see which images are doubtful, and why", command("report", " -f markdown", signs_in=False))
    if unfinished:
        images = count_of(unfinished, "unfinished image")
        add(f"list {images} of failed attempts that may be left; --yes removes them", command("cleanup"))
    return found


def actions_of(reader: Reader, *, cloud: str | None, running: bool, now: float) -> list[Action]:
    """The actions for a state file. `now` is the time for which exports past their deadline are counted."""
    overview, (stuck, stuck_rows) = reader.overview(now=now), _stuck_volumes(reader)
    return actions_after(
        Totals.of(overview.tallies),
        str(reader.path),
        cloud,
        running=running,
        servers_down=len(overview.servers),
        copies=len(overview.copies),
        unfinished=unfinished_images(reader.abandoned()),
        stalled=overview.stalled,
        doubtful=any(reader.reasons(doubtful=True)),
        stuck=stuck,
        stuck_rows=stuck_rows,
        delivered=count_deliveries(reader),
    )


def unfinished_images(abandoned: Iterable[Abandoned]) -> int:
    """How many images failed attempts have left unfinished, unless somebody removed them meanwhile."""
    return len({image.image_id for image in abandoned if image.may_be_left})


def _stuck_volumes(reader: Reader) -> tuple[list[str], int]:
    """The first volumes that only an administrator can free, and how many rows have one."""
    rows = sum(each.jobs for each in reader.reasons() if each.code in STUCK_CODES)
    if not rows:
        return [], 0
    stuck = (job.volume_id for job in reader.jobs({JobState.FAILED}) if job.code in STUCK_CODES)
    return list(islice(stuck, MAX_COMMANDS)), rows


def action_lines(actions: Sequence[Action]) -> list[str]:
    """The actions for a terminal or a message, one line for each command."""
    return [
        f"{'' if each.who == OPERATOR else f'{each.who}: '}{command}  ({each.why})"
        for each in actions
        for command in each.commands
    ]


def actions_json(actions: Sequence[Action]) -> list[dict[str, object]]:
    """The actions for JSON."""
    return [{"who": each.who, "why": each.why, "commands": list(each.commands)} for each in actions]

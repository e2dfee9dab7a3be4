"""What a run says at its end: what came of the rows, why some failed, and what to do next."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote

from batchexport.model import JobState
from batchexport.report.causes import top_doubts, top_reasons
from batchexport.report.servers import servers_line
from batchexport.report.status import MOST_REASONS, reason_lines, stalled_note
from batchexport.report.totals import TO_DO, Totals, gib_text, rows_text
from batchexport.report.words import count_of, duration, number
from batchexport.store import StateReader


def summary_text(
    reader: StateReader, state_path: Path, *, cloud: str | None, took_s: float, now: float | None = None
) -> str:
    """The end of a run in a few lines.

    `cloud` is what --os-cloud said, for the commands to go on with; `took_s` is how long this process took.
    `now` is when stalled exports are counted; None = now.
    """
    stalled = reader.stalled(time.time() if now is None else now)
    totals, servers = Totals.of(reader.tallies()), reader.servers()
    lines = [servers_line(servers)] if servers else []
    lines += [rows_text(totals), f"{gib_text(totals)}, {duration(took_s)} in this run"]
    if totals.to_do:
        parts = ", ".join(f"{number(totals.rows[state])} {state}" for state in TO_DO)
        lines.append(f"to do: {parts}{stalled_note(stalled)}")
    if reasons := top_reasons(reader, MOST_REASONS):
        lines += reason_lines(reasons)
    doubts = top_doubts(reader, MOST_REASONS)
    if doubts:
        lines += reason_lines(doubts, title="succeeded, but look at these images:")
    lines.append(f"state file: {state_path}")
    unfinished = reader.unfinished_images()
    steps = next_steps(
        totals,
        state_path,
        cloud,
        servers_down=bool(servers),
        unfinished=unfinished,
        stalled=stalled,
        doubtful=bool(doubts),
    )
    lines += [f"next: {step}" for step in steps]
    return "\n".join(lines)


def next_steps(
    totals: Totals,
    state_path: Path,
    cloud: str | None,
    *,
    servers_down: bool = False,
    unfinished: int = 0,
    stalled: int = 0,
    doubtful: bool = False,
) -> list[str]:
    """The commands that carry the run further; one that only shows it where nothing is left to do."""
    state_file = quote(str(state_path))
    sign_in = f" --os-cloud {quote(cloud)}" if cloud else ""
    steps = []
    if servers_down:
        steps.append(f"batchexport servers {state_file} --start{sign_in}  (starts what is still stopped)")
    if totals.to_do:
        steps.append(f"the same command again, or batchexport resume {state_file}{sign_in}  (carries on)")
    if stalled:
        steps.append(f"batchexport give-up {state_file} --stalled  (ends rows past their deadline)")
    if totals.rows[JobState.AMBIGUOUS]:
        steps.append(f"batchexport report {state_file} --only ambiguous  (shows their images)")
        steps.append(f"batchexport reconcile {state_file}{sign_in}  (once you removed the ones too many)")
    if totals.rows[JobState.FAILED]:
        steps.append(f"batchexport retry {state_file}{sign_in}  (tries the failed rows again)")
    if doubtful:
        steps.append(f"batchexport report {state_file} -f markdown  (says which images, and what to do)")
    if unfinished:
        left = f"{count_of(unfinished, 'unfinished image')} of failed attempts may be left"
        steps.append(f"batchexport cleanup {state_file}{sign_in}  ({left}; shows them)")
    return steps or [f"batchexport report {state_file}  (shows every volume and its image)"]

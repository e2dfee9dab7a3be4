"""What became of a list: the result of an export, for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from batchexport.app.run import RunOutcome
from batchexport.model import FINAL_STATES, JobState
from batchexport.store import JobReport, Reader

__all__ = ["Outcome"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every volume of a list. By volume id; `rows` also tells volumes of two clouds apart."""

    state_path: Path
    run_id: str
    rows: Sequence[JobReport]  #: every row with everything that is known of it, in the order of the list
    images: Mapping[str, str]  #: image id of every volume that was exported
    failed: Mapping[str, str]  #: the reason, by volume
    skipped: Mapping[str, str]  #: the reason, by volume
    ambiguous: Mapping[str, str]  #: several images may be the volume's; `batchexport reconcile` settles it
    unfinished: Sequence[str]  #: volumes that are still to do or under way: `resume` goes on with them
    suspect: Mapping[str, str]  #: why an image in `images` is not known to be whole, by volume
    servers_down: int  #: servers that the export stopped and that are not up again
    copies_left: int  #: snapshots and temporary volumes of ours that are not deleted
    undelivered: int  #: rows that are exported, and not everywhere they are to go
    exit_code: int  #: of `batchexport run` for the same result

    @property
    def ok(self) -> bool:
        """Whether every volume was exported or skipped, every image is whole and where it is to go, and every
        server is up.
        """
        return self.exit_code == 0 and not self.unfinished


def outcome_in(state_path: Path, reader: Reader, outcome: RunOutcome) -> Outcome:
    """What became of every volume, as the store of a run tells; `outcome` is what the run came to."""
    rows = list(reader.jobs())
    by_state = {state: [row for row in rows if row.state is state] for state in JobState}
    succeeded = by_state[JobState.SUCCEEDED]
    return Outcome(
        state_path=state_path,
        run_id=reader.run.run_id,
        rows=rows,
        images={row.volume_id: row.image_id for row in succeeded if row.image_id is not None},
        failed=_reasons(by_state[JobState.FAILED]),
        skipped=_reasons(by_state[JobState.SKIPPED]),
        ambiguous=_reasons(by_state[JobState.AMBIGUOUS]),
        unfinished=[row.volume_id for row in rows if row.state not in FINAL_STATES],
        suspect=_reasons(row for row in succeeded if row.code is not None),
        servers_down=outcome.servers_down,
        copies_left=outcome.copies_left,
        undelivered=outcome.undelivered,
        exit_code=outcome.exit_code,
    )


def _reasons(rows: Iterable[JobReport]) -> dict[str, str]:
    return {row.volume_id: row.reason or row.code or "" for row in rows}

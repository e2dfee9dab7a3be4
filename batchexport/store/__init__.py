"""The state file: the only memory of a run, and the proof that no row is ever sent twice.

`building` makes one from a list, `StateFile` is for the process that works, `StateReader` for everyone else.
`Store`, `Work` and `Reader` say what any back end provides (`port`); SQLite is the one there is.
"""

from batchexport.store.owner import Owner
from batchexport.store.port import Reader, Store, Work
from batchexport.store.records import (
    AfootServer,
    Duplicate,
    Elsewhere,
    Forbiddings,
    LeftDown,
    LinkedRow,
    OpenRow,
    RunRecord,
    TargetRecord,
    Unsent,
)
from batchexport.store.reports import (
    Abandoned,
    AttemptReport,
    Downtime,
    Exported,
    Holder,
    JobReport,
    Overview,
    ProcessEnd,
    Processes,
    ReasonCount,
    Removal,
    ServerReport,
    Span,
    Tally,
    WorkPeriod,
)
from batchexport.store.sqlite.builder import Builder, building
from batchexport.store.sqlite.exported_images import ExportedImages
from batchexport.store.sqlite.files import Unreadable, discard_untried, is_untried, look_into
from batchexport.store.sqlite.lease import note_end
from batchexport.store.sqlite.list_changes import MADE, Differences, RefusedRow, compare, take_in
from batchexport.store.sqlite.reader import StateReader
from batchexport.store.sqlite.state import StateFile
from batchexport.store.sqlite.targets import check_bound

__all__ = [
    "MADE",
    "Abandoned",
    "AfootServer",
    "AttemptReport",
    "Builder",
    "Differences",
    "Downtime",
    "Duplicate",
    "Elsewhere",
    "Exported",
    "ExportedImages",
    "Forbiddings",
    "Holder",
    "JobReport",
    "LeftDown",
    "LinkedRow",
    "OpenRow",
    "Overview",
    "Owner",
    "ProcessEnd",
    "Processes",
    "Reader",
    "ReasonCount",
    "RefusedRow",
    "Removal",
    "RunRecord",
    "ServerReport",
    "Span",
    "StateFile",
    "StateReader",
    "Store",
    "Tally",
    "TargetRecord",
    "Unreadable",
    "Unsent",
    "Work",
    "WorkPeriod",
    "building",
    "check_bound",
    "compare",
    "discard_untried",
    "is_untried",
    "look_into",
    "note_end",
    "take_in",
]

"""The state file: the only memory of a run, and the proof that no row is ever sent twice.

`building` makes one from a list, `StateFile` is for the process that works, `StateReader` for everyone else.
"""

from batchexport.store.records import (
    Abandoned,
    AfootServer,
    AttemptReport,
    Duplicate,
    Exported,
    Forbiddings,
    Holder,
    JobReport,
    LinkedRow,
    ReasonCount,
    RunRecord,
    ServerReport,
    Tally,
    TargetRecord,
    Unsent,
)
from batchexport.store.sqlite.builder import Builder, building
from batchexport.store.sqlite.exported_images import ExportedImages
from batchexport.store.sqlite.files import (
    Elsewhere,
    LeftDown,
    Unreadable,
    discard_untried,
    is_untried,
    look_into,
)
from batchexport.store.sqlite.history import PutBack, RecentEnding, Span, UnderWay
from batchexport.store.sqlite.lease import ProcessEnd, WorkPeriod, note_end
from batchexport.store.sqlite.list_changes import MADE, Differences, RefusedRow, compare, take_in
from batchexport.store.sqlite.owner import Owner
from batchexport.store.sqlite.queries import OpenRow
from batchexport.store.sqlite.reader import StateReader
from batchexport.store.sqlite.servers import Downtime
from batchexport.store.sqlite.state import StateFile
from batchexport.store.sqlite.targets import check_bound
from batchexport.store.sqlite.work import Work

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
    "Owner",
    "ProcessEnd",
    "PutBack",
    "ReasonCount",
    "RecentEnding",
    "RefusedRow",
    "RunRecord",
    "ServerReport",
    "Span",
    "StateFile",
    "StateReader",
    "Tally",
    "TargetRecord",
    "UnderWay",
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

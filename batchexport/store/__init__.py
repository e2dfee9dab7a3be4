"""The state file: the only memory of a run, and the proof that no row is ever sent twice.

`building` makes one from a list, `StateFile` is for the process that works, `StateReader` for everyone else.
"""

from batchexport.store.build import Builder, building
from batchexport.store.downtimes import Downtime
from batchexport.store.endings import ProcessEnd, note_end
from batchexport.store.exported import ExportedImages
from batchexport.store.giving_up import OpenRow
from batchexport.store.history import PutBack, RecentEnding, Span, UnderWay
from batchexport.store.identities import check_bound
from batchexport.store.last_look import LeftDown
from batchexport.store.merge import MADE, Differences, RefusedRow, compare, take_in
from batchexport.store.neighbours import Elsewhere
from batchexport.store.owner import Owner
from batchexport.store.reader import StateReader
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
from batchexport.store.sessions import Session
from batchexport.store.state import StateFile
from batchexport.store.unreadable import Unreadable, look_into
from batchexport.store.untried import discard_untried, is_untried
from batchexport.store.work import Work

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
    "Session",
    "Span",
    "StateFile",
    "StateReader",
    "Tally",
    "TargetRecord",
    "UnderWay",
    "Unreadable",
    "Unsent",
    "Work",
    "building",
    "check_bound",
    "compare",
    "discard_untried",
    "is_untried",
    "look_into",
    "note_end",
    "take_in",
]

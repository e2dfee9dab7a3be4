"""The store: the only memory of a run, and the proof that no row is ever sent twice.

`stores` makes, opens and reads a store by its reference; `Store`, `Work` and `Reader` say what any back end
provides (`port`). There are two: state files, kept by SQLite, and a PostgreSQL database.
"""

from batchexport.store.back_end import Builder, ExportedImages
from batchexport.store.owner import Owner
from batchexport.store.port import Reader, Store, Work
from batchexport.store.records import (
    Differences,
    Duplicate,
    Elsewhere,
    Forbiddings,
    JobWithResources,
    LeftOver,
    NeverAttempted,
    OpenRow,
    RefusedRow,
    Resource,
    RunRecord,
    StoreRef,
    TargetRecord,
)
from batchexport.store.reports import (
    CANNOT_BE_DELETED,
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
    ResourceReport,
    Span,
    Tally,
    WorkPeriod,
)
from batchexport.store.sqlite.builder import building
from batchexport.store.sqlite.deliveries import (
    DeliveryBook,
    awaited_images,
    count_deliveries,
    read_deliveries,
    read_policy,
    read_row_destinations,
    tally_deliveries,
)
from batchexport.store.sqlite.list_changes import MADE
from batchexport.store.sqlite.reader import StateReader
from batchexport.store.sqlite.state import StateFile
from batchexport.store.sqlite.targets import check_bound
from batchexport.store.stores import Unreadable, look_into

__all__ = [
    "CANNOT_BE_DELETED",
    "MADE",
    "Abandoned",
    "AttemptReport",
    "Builder",
    "DeliveryBook",
    "Differences",
    "Downtime",
    "Duplicate",
    "Elsewhere",
    "Exported",
    "ExportedImages",
    "Forbiddings",
    "Holder",
    "JobReport",
    "JobWithResources",
    "LeftOver",
    "NeverAttempted",
    "OpenRow",
    "Overview",
    "Owner",
    "ProcessEnd",
    "Processes",
    "Reader",
    "ReasonCount",
    "RefusedRow",
    "Removal",
    "Resource",
    "ResourceReport",
    "RunRecord",
    "Span",
    "StateFile",
    "StateReader",
    "Store",
    "StoreRef",
    "Tally",
    "TargetRecord",
    "Unreadable",
    "Work",
    "WorkPeriod",
    "awaited_images",
    "building",
    "check_bound",
    "count_deliveries",
    "look_into",
    "read_deliveries",
    "read_policy",
    "read_row_destinations",
    "tally_deliveries",
]

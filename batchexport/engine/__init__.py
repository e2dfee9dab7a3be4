"""The engine: takes the rows of a state file through the cloud to an image, each exactly once."""

from batchexport.engine.cleanup import Cleaned, Found, find_left_overs, remove_left_overs
from batchexport.engine.controls import Controls, GibBudget
from batchexport.engine.give_up import give_up, give_up_pending, left_behind, rows_to_give_up
from batchexport.engine.ledger import OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.reconcile import Claims, Reconciled
from batchexport.engine.run import Connect, reconcile_all, run

__all__ = [
    "Claims",
    "Cleaned",
    "Cloud",
    "Connect",
    "Controls",
    "Found",
    "GibBudget",
    "OnChange",
    "Reconciled",
    "find_left_overs",
    "give_up",
    "give_up_pending",
    "left_behind",
    "reconcile_all",
    "remove_left_overs",
    "rows_to_give_up",
    "run",
]

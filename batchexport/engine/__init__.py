"""The engine: takes the rows of a state file through the cloud to an image, each exactly once."""

from batchexport.engine.cleanup import Cleaned, clean_up, cleanup
from batchexport.engine.give_up import give_up, left_behind, rows_to_give_up
from batchexport.engine.ledger import OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.reconcile import Claims, Reconciled
from batchexport.engine.removal import Found
from batchexport.engine.run import Connect, reconcile_all, run

__all__ = [
    "Claims",
    "Cleaned",
    "Cloud",
    "Connect",
    "Found",
    "OnChange",
    "Reconciled",
    "clean_up",
    "cleanup",
    "give_up",
    "left_behind",
    "reconcile_all",
    "rows_to_give_up",
    "run",
]

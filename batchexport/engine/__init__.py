"""The engine: takes the rows of a state file through the cloud to an image, each exactly once."""

from batchexport.engine.cleanup import Cleaned, Found, cleanup
from batchexport.engine.ledger import OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.reconcile import Reconciled
from batchexport.engine.run import reconcile_all, run
from batchexport.engine.targets import Connect

__all__ = [
    "Cleaned",
    "Cloud",
    "Connect",
    "Found",
    "OnChange",
    "Reconciled",
    "cleanup",
    "reconcile_all",
    "run",
]

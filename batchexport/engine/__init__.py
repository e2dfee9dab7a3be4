"""The engine: takes the rows of a state file through the cloud to an image, each exactly once."""

from batchexport.engine.ledger import OnChange
from batchexport.engine.ports import Cloud
from batchexport.engine.run import Connect, run

__all__ = ["Cloud", "Connect", "OnChange", "run"]

"""Settings: what a run is asked to do, put together from flags, environment, job file and defaults."""

from batchexport.config.settings import (
    CloudSettings,
    CopyLimits,
    DeliverySettings,
    Limits,
    MaxFailures,
    ServerStops,
    Settings,
)
from batchexport.model import InUse

__all__ = [
    "CloudSettings",
    "CopyLimits",
    "DeliverySettings",
    "InUse",
    "Limits",
    "MaxFailures",
    "ServerStops",
    "Settings",
]

"""Settings: what a run is asked to do, put together from flags, environment, job file and defaults."""

from batchexport.config.settings import CloudSettings, InUse, Limits, MaxFailures, Settings

__all__ = ["CloudSettings", "InUse", "Limits", "MaxFailures", "Settings"]

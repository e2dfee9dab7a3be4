"""batchexport: a list of cloud volumes becomes images, each exactly once.

As a library: `outcome = await batchexport.export("volumes.csv", cloud="prod")`. The names below are imported
when they are first used, so that the command starts quickly.
"""

from typing import TYPE_CHECKING, Any

from batchexport.version import __version__

if TYPE_CHECKING:
    from batchexport.change_stream import ChangeStream, export_changes
    from batchexport.changes import JobChange
    from batchexport.config.volume_filter import VolumeFilter
    from batchexport.errors import (
        BatchExportError,
        CloudError,
        ConfigError,
        JobListError,
        RunStoppedError,
        StateError,
        StateInUseError,
    )
    from batchexport.export_options import ExportOptions, SignInOptions
    from batchexport.job_run import JobRun, run_job
    from batchexport.library import (
        discover,
        export,
        plan_export,
        read_outcome,
        render_report,
        resume,
        verify,
    )
    from batchexport.model import JobState, Volume
    from batchexport.outcome import Outcome

__all__ = [
    "BatchExportError",
    "ChangeStream",
    "CloudError",
    "ConfigError",
    "ExportOptions",
    "JobChange",
    "JobListError",
    "JobRun",
    "JobState",
    "Outcome",
    "RunStoppedError",
    "SignInOptions",
    "StateError",
    "StateInUseError",
    "Volume",
    "VolumeFilter",
    "__version__",
    "discover",
    "export",
    "export_changes",
    "plan_export",
    "read_outcome",
    "render_report",
    "resume",
    "run_job",
    "verify",
]

_MODULES = {
    "ChangeStream": "change_stream",
    "ExportOptions": "export_options",
    "SignInOptions": "export_options",
    "JobRun": "job_run",
    "export_changes": "change_stream",
    "run_job": "job_run",
    "JobChange": "changes",
    "JobState": "model",
    "Outcome": "outcome",
    "Volume": "model",
    "VolumeFilter": "config.volume_filter",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _MODULES.get(name, "errors" if name.endswith("Error") else "library")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

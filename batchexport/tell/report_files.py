"""Reports that a run leaves behind, named after its state file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from batchexport.config.outputs import Reports
from batchexport.errors import StateError
from batchexport.report.forms import Form, written
from batchexport.store import StateReader
from batchexport.whole_file import write_whole

log = logging.getLogger(__name__)


def write_reports(state_path: Path, reports: Reports, *, now: float) -> Sequence[Path]:
    """The reports written. What cannot be written is told as a warning: the state file has it all."""
    folder, paths = reports.folder, list[Path]()
    if folder is None:
        return paths
    for form in map(Form, reports.formats):
        path = folder / f"{state_path.stem}{form.suffix}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with StateReader(state_path) as reader:
                write_whole(path, (f"{line}\n" for line in written(reader, form, now=now)))
        except (OSError, StateError) as error:
            log.warning("the report %s could not be written: %s", path, error)
        else:
            paths.append(path)
    return paths

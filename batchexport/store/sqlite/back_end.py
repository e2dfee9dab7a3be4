"""State files as a back end: each a file of SQLite, with the other state files of its folder beside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from batchexport.store.back_end import BackEnd, Builder
from batchexport.store.records import Differences, StoreRef
from batchexport.store.reports import ProcessEnd
from batchexport.store.sqlite import builder, files, lease, list_changes
from batchexport.store.sqlite.exported_images import SqliteExportedImages
from batchexport.store.sqlite.reader import StateReader
from batchexport.store.sqlite.state import StateFile


class StateFiles(BackEnd):
    """The state files of this machine."""

    def create(self, ref: StoreRef) -> AbstractContextManager[Builder]:
        return builder.building(_path(ref))

    def open_for_work(self, ref: StoreRef, *, now: Callable[[], float]) -> StateFile:
        return StateFile.open(_path(ref), now=now)

    def read(self, ref: StoreRef) -> StateReader:
        return StateReader(_path(ref))

    def beside(self, ref: StoreRef) -> list[StoreRef]:
        own = _path(ref)
        patterns = {"*.state", f"*{own.suffix or '.state'}"}
        found = {path for pattern in patterns for path in own.parent.glob(pattern)}
        others = sorted(path for path in found if not _is_same(path, own))
        return [*sorted(others, key=_changed_at, reverse=True)]

    def companion(self, ref: StoreRef, suffix: str) -> Path:
        path = _path(ref)
        return path.with_name(path.name + suffix)

    def forget(self, ref: StoreRef) -> bool:
        return files.discard_untried(_path(ref))

    def is_untried(self, ref: StoreRef) -> bool:
        return files.is_untried(_path(ref))

    def compare(self, ref: StoreRef, fresh: Path) -> Differences:
        return list_changes.compare(_path(ref), fresh)

    def update(self, ref: StoreRef, fresh: Path) -> Differences:
        return list_changes.take_in(_path(ref), fresh)

    def note_end(self, ref: StoreRef, end: ProcessEnd) -> None:
        lease.note_end(_path(ref), end)

    def exported_images(self, ref: StoreRef, target_id: int) -> SqliteExportedImages:
        return SqliteExportedImages(_path(ref), target_id)


def _is_same(path: Path, own: Path) -> bool:
    try:
        return path == own or path.samefile(own)
    except OSError:
        return False


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _path(ref: StoreRef) -> Path:
    assert isinstance(ref, Path)
    return ref


STATE_FILES = StateFiles()

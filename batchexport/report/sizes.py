"""Exports by the size of their volumes: how many, how long they took, how fast they were copied."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from statistics import median

import msgspec

from batchexport.model import JobState
from batchexport.report.words import number
from batchexport.store import JobReport

#: The upper ends of the classes, in GiB; the last of them is the largest volume that EVS exports.
CLASS_ENDS_GIB = (10, 50, 100, 250, 500, 1024)


class SizeClass(msgspec.Struct):
    """The rows whose volumes are about equally large."""

    name: str
    rows: Counter[JobState] = msgspec.field(default_factory=Counter)
    gib: int = 0  #: of the succeeded rows
    #: Seconds from acceptance to the end, of the succeeded rows: eight bytes each, so that a million fit.
    took_s: array[float] = msgspec.field(default_factory=lambda: array("d"))

    def add(self, job: JobReport) -> None:
        """Count one row."""
        self.rows[job.state] += 1
        if job.state is JobState.SUCCEEDED:
            self.gib += job.size_gib or 0
            if job.accepted_at is not None and job.finished_at is not None:
                self.took_s.append(max(0.0, job.finished_at - job.accepted_at))

    @property
    def median_s(self) -> float | None:
        """How long the middle one of the exports took; None where none succeeded."""
        return median(self.took_s) if self.took_s else None

    @property
    def longest_s(self) -> float | None:
        """How long the longest export took; None where none succeeded."""
        return max(self.took_s, default=None)

    @property
    def mib_per_second(self) -> float | None:
        """The mean speed of one copy; None where there is nothing to tell it from."""
        seconds = sum(self.took_s)
        return self.gib * 1024 / seconds if seconds and self.gib else None


class Sizes:
    """Sorts rows into classes by the size of their volumes."""

    def __init__(self) -> None:
        starts = (0, *CLASS_ENDS_GIB)
        names = [f"up to {CLASS_ENDS_GIB[0]} GiB"]
        names += [
            f"{number(low + 1)}–{number(end)} GiB"
            for low, end in zip(starts[1:], CLASS_ENDS_GIB[1:], strict=False)
        ]
        self._classes = [
            SizeClass(name) for name in (*names, f"over {number(CLASS_ENDS_GIB[-1])} GiB", "not known")
        ]

    def add(self, job: JobReport) -> None:
        """Count one row in its class."""
        place = -1 if job.size_gib is None else bisect_left(CLASS_ENDS_GIB, job.size_gib)
        self._classes[place].add(job)

    def filled(self) -> list[SizeClass]:
        """The classes that have rows, from small to large; unknown sizes last."""
        return [each for each in self._classes if each.rows]

    def took_s(self) -> array[float]:
        """How long every succeeded export took."""
        together = array("d")
        for each in self._classes:
            together.extend(each.took_s)
        return together

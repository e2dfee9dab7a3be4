from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import pytest

from batchexport.dialect import Dialect
from batchexport.lists import JobList, Problem
from batchexport.model import JobRow


@dataclass(frozen=True)
class Reading:
    """A list that was read to its end."""

    job_list: JobList
    rows: list[JobRow]
    problems: list[Problem]

    @property
    def told(self) -> list[str]:
        return [str(problem) for problem in self.problems]


Read = Callable[..., Reading]


@pytest.fixture(scope="session")
def read() -> Read:
    """Reads a list from the bytes (or text) of a file."""

    def read(content: str | bytes, dialect: Dialect | None = None) -> Reading:
        raw = content.encode() if isinstance(content, str) else content
        job_list = JobList("-", dialect=dialect, stdin=BytesIO(raw))
        found = list(job_list)
        return Reading(
            job_list=job_list,
            rows=[item for item in found if isinstance(item, JobRow)],
            problems=[item for item in found if isinstance(item, Problem)],
        )

    return read

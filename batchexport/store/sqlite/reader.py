"""The state file for everyone who only looks: during a run, after it, and instead of it."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from batchexport.model import InUse, JobState, ResourceState, TargetKey
from batchexport.store.owner import is_alive, this_process
from batchexport.store.port import Reader
from batchexport.store.records import RunRecord
from batchexport.store.reports import (
    Abandoned,
    AttemptReport,
    Downtime,
    Holder,
    JobReport,
    Overview,
    Processes,
    ReasonCount,
    Removal,
    ResourceReport,
    Span,
    Tally,
)
from batchexport.store.sqlite import history, labels, queries, values
from batchexport.store.sqlite.connection import open_for_reading
from batchexport.store.sqlite.images import removals
from batchexport.store.sqlite.lease import last_end, owner_from, work_periods
from batchexport.store.sqlite.resources import downtimes
from batchexport.store.sqlite.schema import IS_OUTSTANDING, IS_RETRYABLE, IS_UNDER_WAY
from batchexport.store.sqlite.sqlite_errors import reading
from batchexport.store.sqlite.targets import target_records
from batchexport.store.sqlite.values import moment

#: Jobs are read page by page: no read lasts long enough to hold up the process that works.
_PAGE = 2000

JOBS = """
    SELECT job.job_id, line, target_id, volume_id, image_name, state, job.image_id, options, size_gib,
        job.attempt, reason, code, http_status, coalesce(operation.request_id, job.request_id), job.intent_at,
        job.accepted_at, finished_at, next_at, deadline_at, image_hash, {volume_name}, {image_status}
    FROM job {index} LEFT JOIN operation USING (operation_id)
    WHERE job.job_id > ? {chosen} ORDER BY job.job_id LIMIT ?"""
#: These by their index, however long the list is.
_UNDER_WAY = frozenset({JobState.SUBMITTING, JobState.EXPORTING})

REASONS = f"""
    SELECT coalesce(reason, ''), code, count(*) AS jobs
    FROM job LEFT JOIN operation USING (operation_id)
    WHERE {IS_RETRYABLE} AND state = 'failed'
    GROUP BY reason, code ORDER BY jobs DESC, reason"""

STALLED = f"SELECT count(*) FROM job WHERE {IS_UNDER_WAY} AND state = 'exporting' AND deadline_at < ?"
_TALLIES = "SELECT target_id, state, jobs, gib, sized_jobs FROM tally WHERE jobs > 0"
_OWNERS = "SELECT target_id, owner, lease_until FROM target WHERE owner IS NOT NULL ORDER BY target_id"


_RESOURCES = f"""
    SELECT target_id, kind, subject_id, name, state, acquiring_at, held_at, note,
        (
            SELECT json_group_array(volume_id) FROM resource_job JOIN job USING (job_id)
            WHERE resource_job.subject_id = resource.subject_id AND resource_job.kind = resource.kind
            AND job.target_id = resource.target_id),
        volume_id, cloud_id, depends_on, size_gib
    FROM resource WHERE {IS_OUTSTANDING} ORDER BY target_id, acquiring_at, subject_id"""
_ROWS_THAT_STOP = """
    SELECT count(*), count(*) FILTER (WHERE state <> 'submitting' AND state <> 'exporting') FROM job
    WHERE state <> 'succeeded' AND coalesce(json_extract(options, '$.in_use'), ?) = ?"""


T = TypeVar("T")


class StateReader(Reader):
    """A state file to look at. Every answer is as fresh as its call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = open_for_reading(path)
        try:
            with reading(path):
                self.run: RunRecord = queries.run_record(self._db)
                self._keys: dict[int, TargetKey] = {
                    target.target_id: target.key for target in target_records(self._db)
                }
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def overview(self, *, now: float | None = None) -> Overview:
        with reading(self.path):
            return Overview(
                tallies=self._tallies(),
                targets=target_records(self._db),
                resources=self._resources(),
                stalled=int(self._rows(STALLED, time.time() if now is None else now)[0][0]),
            )

    def jobs(
        self, states: Collection[JobState] | None = None, *, job_ids: Sequence[int] | None = None
    ) -> Iterator[JobReport]:
        index, chosen, values = "", "", list[object]()
        if states is not None:
            chosen = f"AND state IN ({', '.join('?' * len(states))})"
            values += states
            if states and _UNDER_WAY.issuperset(states):
                index, chosen = "INDEXED BY job_under_way", f"{chosen} AND {IS_UNDER_WAY}"
        if job_ids is not None:
            chosen += " AND job.job_id IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(list(job_ids)))
        statement = JOBS.format(
            index=index,
            chosen=chosen,
            volume_name=labels.name_column(self._rows),
            image_status=labels.status_column(self._rows),
        )
        last = 0
        while page := self._rows(statement, last, *values, _PAGE):
            last = page[-1][0]
            with reading(self.path):
                jobs = [self._job(row) for row in page]
            yield from jobs

    def attempts(
        self, outcome: JobState | None = None, *, latest: int | None = None
    ) -> Iterator[AttemptReport]:
        with reading(self.path):
            if latest is not None:
                yield from history.latest_attempts(self._rows, self._keys, latest)
            else:
                yield from history.attempts(self._rows, self._keys, outcome)

    def processes(self) -> Processes:
        with reading(self.path):
            return Processes(
                holders=self._holders(), periods=work_periods(self._rows), last_end=last_end(self._rows)
            )

    def abandoned(self) -> list[Abandoned]:
        with reading(self.path):
            return history.abandoned(self._rows, self._keys)

    def downtimes(self) -> list[Downtime]:
        with reading(self.path):
            return downtimes(self._rows, self._keys)

    def volume_names(self, volume_ids: Collection[str]) -> dict[str, str]:
        with reading(self.path):
            return labels.names_of(self._rows, volume_ids)

    def rows_that_stop(self, in_use: InUse) -> tuple[int, int]:
        if not self.run.stop_rows and in_use is not InUse.STOP:
            return 0, 0  # else every row is read
        ((rows, waiting),) = self._rows(_ROWS_THAT_STOP, in_use, InUse.STOP)
        return int(rows), int(waiting)

    def reasons(self, *, doubtful: bool = False) -> Iterator[ReasonCount]:
        with reading(self.path):
            for reason, code, jobs in self._db.execute(history.DOUBTS if doubtful else REASONS):
                yield ReasonCount(reason=reason, code=code, jobs=jobs)

    def span(self) -> Span:
        with reading(self.path):
            return history.span(self._rows)

    def removals(self) -> list[Removal]:
        with reading(self.path):
            return removals(self._rows)

    def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """The result of a look at tables that this class does not know."""
        return look(self._db)

    def _tallies(self) -> list[Tally]:
        order = {state: place for place, state in enumerate(JobState)}
        return [
            Tally(
                target=self._keys[row[0]],
                state=JobState(row[1]),
                jobs=row[2],
                gib=row[3],
                sized_jobs=row[4],
            )
            for row in sorted(self._rows(_TALLIES), key=lambda row: (row[0], order[row[1]]))
        ]

    def _resources(self) -> list[ResourceReport]:
        return [
            ResourceReport(
                target=self._keys[row[0]],
                kind=row[1],
                resource_id=row[2],
                name=row[3],
                state=ResourceState(row[4]),
                acquiring_at=moment(row[5]),
                held_at=moment(row[6]),
                note=row[7],
                volume_ids=tuple(json.loads(row[8])) if row[9] is None else (row[9],),
                cloud_id=row[10],
                depends_on=row[11],
                size_gib=row[12],
            )
            for row in self._rows(_RESOURCES)
        ]

    def _holders(self) -> list[Holder]:
        here = this_process(now=time.time())
        return [
            Holder(
                target=self._keys[target_id],
                owner=owner,
                alive=is_alive(owner, here=here),
                lease_until=moment(lease_until) or 0.0,
            )
            for target_id, text, lease_until in self._rows(_OWNERS)
            if (owner := owner_from(text)) is not None
        ]

    def _job(self, row: tuple[Any, ...]) -> JobReport:
        return JobReport(
            job_id=row[0],
            line=row[1],
            target=self._keys[row[2]],
            volume_id=row[3],
            image_name=row[4],
            state=JobState(row[5]),
            image_id=row[6],
            options=values.options_from_text(row[7]),
            size_gib=row[8],
            attempts=row[9],
            reason=row[10],
            code=row[11],
            status=row[12],
            request_id=row[13],
            intent_at=moment(row[14]),
            accepted_at=moment(row[15]),
            finished_at=moment(row[16]),
            next_at=None if row[17] == math.inf else moment(row[17]) or None,
            deadline_at=moment(row[18]),
            image_hash=row[19],
            volume_name=row[20],
            image_status=row[21],
        )

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with reading(self.path):
            return self._db.execute(statement, values).fetchall()

"""The state file for everyone who only looks: during a run, after it, and instead of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from batchexport.identity import CloudIdentity
from batchexport.model import InUse, JobState, TargetKey
from batchexport.store.owner import is_alive, this_process
from batchexport.store.port import Reader
from batchexport.store.records import RunRecord, TargetRecord
from batchexport.store.reports import (
    Abandoned,
    AttemptReport,
    Downtime,
    Holder,
    JobReport,
    ProcessEnd,
    PutBack,
    ReasonCount,
    RecentEnding,
    Removal,
    ServerReport,
    Span,
    Tally,
    UnderWay,
    WorkPeriod,
)
from batchexport.store.sqlite import history, labels, queries, values
from batchexport.store.sqlite.connection import open_for_reading
from batchexport.store.sqlite.images import (
    removals,
    removed_image_ids,
    requested_image_ids,
    unanswered_image_ids,
)
from batchexport.store.sqlite.lease import last_end, owner_from, work_periods
from batchexport.store.sqlite.schema import IS_OUTSTANDING, IS_RETRYABLE, IS_UNDER_WAY
from batchexport.store.sqlite.servers import downtimes, server_state
from batchexport.store.sqlite.sqlite_errors import reading
from batchexport.store.sqlite.targets import target_records
from batchexport.store.sqlite.values import moment

#: Jobs are read page by page: no read lasts long enough to hold up the process that works.
_PAGE = 2000

_JOBS = """
    SELECT job.job_id, line, target_id, volume_id, image_name, state, job.image_id, options, size_gib,
        job.attempt, reason, code, http_status, coalesce(operation.request_id, job.request_id), job.intent_at,
        job.accepted_at, finished_at, next_at, deadline_at, image_hash, {volume_name}, {image_status}
    FROM job LEFT JOIN operation USING (operation_id)
    WHERE job.job_id > ? {chosen} ORDER BY job.job_id LIMIT ?"""

REASONS = f"""
    SELECT coalesce(reason, ''), code, count(*) AS jobs
    FROM job LEFT JOIN operation USING (operation_id)
    WHERE {IS_RETRYABLE} AND state = 'failed'
    GROUP BY reason, code ORDER BY jobs DESC, reason"""

STALLED = f"SELECT count(*) FROM job WHERE {IS_UNDER_WAY} AND state = 'exporting' AND deadline_at < ?"
_TALLIES = "SELECT target_id, state, jobs, gib, sized_jobs FROM tally WHERE jobs > 0"
_OWNERS = "SELECT target_id, owner, lease_until FROM target WHERE owner IS NOT NULL ORDER BY target_id"
_ABANDONED = """
    SELECT DISTINCT target_id, job.job_id, volume_id, image_name, operation.image_id
    FROM operation JOIN job USING (job_id)
    WHERE operation.image_id IS NOT NULL AND outcome <> 'succeeded'
        AND operation.image_id NOT IN (
            SELECT own.image_id FROM job AS own
            WHERE own.state IN ('exporting', 'succeeded') AND own.image_id IS NOT NULL)
    ORDER BY operation.operation_id"""
# A copy that was gone left none, and an orphan is removed before the next attempt.
_UNFINISHED = """
    SELECT count(DISTINCT operation.image_id) FROM operation JOIN job USING (job_id)
    WHERE operation.image_id IS NOT NULL
        AND (code IN ('image_dead', 'export_stuck', 'given_up')
            OR code = 'image_orphaned' AND operation.attempt = job.attempt)
        AND NOT (job.state IN ('exporting', 'succeeded') AND job.image_id IS operation.image_id)"""
_ATTEMPTS = """
    SELECT attempt, intent_at, accepted_at, ended_at, outcome, image_id, http_status, code, reason, request_id
    FROM operation WHERE job_id = ? AND kind = 'export' AND ended_at IS NOT NULL ORDER BY operation_id"""


_SERVERS = f"""
    SELECT target_id, subject_id, name, state, acquiring_at, held_at, note, (
        SELECT json_group_array(volume_id) FROM resource_job JOIN job USING (job_id)
        WHERE resource_job.subject_id = resource.subject_id AND job.target_id = resource.target_id)
    FROM resource WHERE {IS_OUTSTANDING} ORDER BY target_id, acquiring_at, subject_id"""
_ROWS_THAT_STOP = """
    SELECT count(*), count(*) FILTER (WHERE state <> 'submitting' AND state <> 'exporting') FROM job
    WHERE state <> 'succeeded' AND coalesce(json_extract(options, '$.in_use'), ?) = ?"""


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

    def tallies(self) -> list[Tally]:
        order = {state: place for place, state in enumerate(JobState)}
        with reading(self.path):
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

    def jobs(self, states: Collection[JobState] | None = None) -> Iterator[JobReport]:
        chosen = "" if states is None else f"AND state IN ({', '.join('?' * len(states))})"
        statement = _JOBS.format(
            chosen=chosen,
            volume_name=labels.name_column(self._rows),
            image_status=labels.status_column(self._rows),
        )
        last = 0
        while page := self._rows(statement, last, *(states or ()), _PAGE):
            last = page[-1][0]
            with reading(self.path):
                jobs = [self._job(row) for row in page]
            yield from jobs

    def attempts(self, job_id: int) -> list[AttemptReport]:
        with reading(self.path):
            return [
                AttemptReport(
                    attempt=row[0],
                    intent_at=row[1],
                    accepted_at=row[2],
                    ended_at=row[3],
                    outcome=JobState(row[4]),
                    image_id=row[5],
                    status=row[6],
                    code=row[7],
                    reason=row[8],
                    request_id=row[9],
                )
                for row in self._rows(_ATTEMPTS, job_id)
            ]

    def abandoned(self) -> list[Abandoned]:
        with reading(self.path):
            return [
                Abandoned(
                    target=self._keys[row[0]],
                    job_id=row[1],
                    volume_id=row[2],
                    image_name=row[3],
                    image_id=row[4],
                )
                for row in self._rows(_ABANDONED)
            ]

    def unfinished_images(self) -> int:
        with reading(self.path):
            return int(self._rows(_UNFINISHED)[0][0])

    def owners(self) -> list[Holder]:
        with reading(self.path):
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

    def servers(self) -> list[ServerReport]:
        with reading(self.path):
            return [
                ServerReport(
                    target=self._keys[row[0]],
                    server_id=row[1],
                    name=row[2],
                    state=server_state(row[3]),
                    stopping_at=moment(row[4]),
                    down_at=moment(row[5]),
                    note=row[6],
                    volume_ids=tuple(json.loads(row[7])),
                )
                for row in self._rows(_SERVERS)
            ]

    def downtimes(self) -> list[Downtime]:
        with reading(self.path):
            return downtimes(self._rows, self._keys)

    def volume_names(self, volume_ids: Collection[str]) -> dict[str, str]:
        with reading(self.path):
            return labels.names_of(self._rows, volume_ids)

    def last_end(self) -> ProcessEnd | None:
        with reading(self.path):
            return last_end(self._rows)

    def rows_that_stop(self, in_use: InUse) -> tuple[int, int]:
        if not self.run.stop_rows and in_use is not InUse.STOP:
            return 0, 0  # else every row is read
        ((rows, waiting),) = self._rows(_ROWS_THAT_STOP, in_use, InUse.STOP)
        return int(rows), int(waiting)

    def stalled(self, now: float) -> int:
        ((jobs,),) = self._rows(STALLED, now)
        return int(jobs)

    def reasons(self, *, doubtful: bool = False) -> Iterator[ReasonCount]:
        with reading(self.path):
            for reason, code, jobs in self._db.execute(history.DOUBTS if doubtful else REASONS):
                yield ReasonCount(reason=reason, code=code, jobs=jobs)

    def targets(self) -> list[TargetRecord]:
        with reading(self.path):
            return target_records(self._db)

    def identities(self) -> dict[TargetKey, CloudIdentity]:
        return {target.key: target.identity for target in self.targets() if target.identity is not None}

    def span(self) -> Span:
        with reading(self.path):
            return history.span(self._rows)

    def put_backs(self) -> Iterator[PutBack]:
        with reading(self.path):
            yield from history.put_backs(self._rows, self._keys)

    def work_periods(self) -> list[WorkPeriod]:
        with reading(self.path):
            return work_periods(self._rows)

    def latest_endings(self, limit: int) -> list[RecentEnding]:
        with reading(self.path):
            return history.latest_endings(self._rows, limit)

    def under_way(self) -> list[UnderWay]:
        with reading(self.path):
            return history.under_way(
                self._rows,
                self._keys,
                name_column=labels.name_column(self._rows),
                status_column=labels.status_column(self._rows),
            )

    def removed_image_ids(self) -> frozenset[str]:
        with reading(self.path):
            return removed_image_ids(self._rows)

    def requested_image_ids(self) -> frozenset[str]:
        with reading(self.path):
            return requested_image_ids(self._rows)

    def unanswered_removals(self) -> frozenset[str]:
        with reading(self.path):
            return unanswered_image_ids(self._rows)

    def removals(self) -> list[Removal]:
        with reading(self.path):
            return removals(self._rows)

    def place_of(self, job_id: int) -> tuple[int, TargetKey]:
        with reading(self.path):
            ((line, target_id),) = self._rows(history.PLACE, job_id)
            return line, self._keys[target_id]

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

"""The tally is always what a full count would say, whatever happens and in whatever order."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchexport.changes import Ended, Requeued, SizesLearned
from batchexport.model import Job, JobState
from batchexport.store import StateFile, Work
from tests.store.making import DONE, REFUSED, THERE, accept, ask, claim, make, row, volume

JOBS = 6


class Life(RuleBasedStateMachine):
    """A state file of two targets, and beside it what its jobs should be."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "a.state"
        make(self.path, [row(n) if n % 3 else row(n, target=THERE) for n in range(1, JOBS + 1)])
        self.loop = asyncio.new_event_loop()
        self.expected = Counter({JobState.PENDING: JOBS})
        self.submitting: list[tuple[Work, Job]] = []
        self.exporting: list[tuple[Work, Job]] = []
        self.now_s = 100.0
        self.open()

    def open(self) -> None:
        self.state = StateFile.open(self.path)
        self.taken = [self.loop.run_until_complete(self.state.take(target_id)) for target_id in (1, 2)]

    def close(self) -> None:
        for work in self.taken:
            self.loop.run_until_complete(work.release())
        self.loop.run_until_complete(self.state.close())

    def move(self, before: JobState, after: JobState) -> None:
        self.expected[before] -= 1
        self.expected[after] += 1

    @rule(which=st.integers(0, 1), limit=st.integers(1, 3))
    def claim(self, which: int, limit: int) -> None:
        work = self.taken[which]
        self.now_s += 10.0
        for job in self.loop.run_until_complete(claim(work, limit, now_s=self.now_s)):
            self.submitting.append((work, job))
            self.move(JobState.PENDING, JobState.SUBMITTING)

    @precondition(lambda self: self.submitting)
    @rule()
    def accepted(self) -> None:
        work, job = self.submitting.pop()
        accept(work, job)
        self.exporting.append((work, job))
        self.move(JobState.SUBMITTING, JobState.EXPORTING)

    @precondition(lambda self: self.submitting)
    @rule(final=st.sampled_from([JobState.FAILED, JobState.SKIPPED, JobState.AMBIGUOUS]))
    def refused(self, final: JobState) -> None:
        work, job = self.submitting.pop()
        work.apply(Ended(job=job, after=final, ending=REFUSED, at_s=self.now_s))
        self.move(JobState.SUBMITTING, final)

    @precondition(lambda self: self.exporting)
    @rule(final=st.sampled_from([JobState.SUCCEEDED, JobState.FAILED]))
    def finished(self, final: JobState) -> None:
        work, job = self.exporting.pop()
        work.apply(Ended(job=job, after=final, ending=DONE, at_s=self.now_s))
        self.move(JobState.EXPORTING, final)

    @precondition(lambda self: self.submitting or self.exporting)
    @rule(counted=st.booleans(), later_s=st.sampled_from([0.0, 15.0]))
    def put_back(self, counted: bool, later_s: float) -> None:
        before = JobState.SUBMITTING if self.submitting else JobState.EXPORTING
        work, job = (self.submitting or self.exporting).pop()
        next_at = self.now_s + later_s if later_s else 0.0
        work.apply(Requeued(job=job, ending=REFUSED, at_s=self.now_s, next_at=next_at, counted=counted))
        self.move(before, JobState.PENDING)

    @rule(number=st.integers(1, JOBS), size_gib=st.integers(1, 100))
    def sized(self, number: int, size_gib: int) -> None:
        for work in self.taken:
            work.apply(SizesLearned({volume(number): size_gib}))

    @rule(final=st.sampled_from([JobState.FAILED, JobState.SKIPPED, JobState.AMBIGUOUS]))
    def retry(self, final: JobState) -> None:
        again = (work.retry(frozenset({final})) for work in self.taken)
        retried = sum(self.loop.run_until_complete(each) for each in again)
        assert retried == self.expected[final]
        self.expected[final] -= retried
        self.expected[JobState.PENDING] += retried

    @rule()
    def reopen(self) -> None:
        self.close()
        self.open()
        found = [self.loop.run_until_complete(work.jobs_in(JobState.SUBMITTING)) for work in self.taken]
        self.submitting = [(work, job) for work, jobs in zip(self.taken, found, strict=True) for job in jobs]
        found = [self.loop.run_until_complete(work.jobs_in(JobState.EXPORTING)) for work in self.taken]
        self.exporting = [(work, job) for work, jobs in zip(self.taken, found, strict=True) for job in jobs]

    @invariant()
    def the_tally_is_a_full_count(self) -> None:
        self.loop.run_until_complete(self.state.flush())
        counted = ask(
            self.path,
            "SELECT target_id, state, count(*), coalesce(sum(size_gib), 0), count(size_gib)"
            " FROM job GROUP BY target_id, state ORDER BY target_id, state",
        )
        assert counted == ask(
            self.path,
            "SELECT target_id, state, jobs, gib, sized_jobs FROM tally WHERE jobs > 0 ORDER BY 1, 2",
        )
        assert +self.expected == Counter(dict(ask(self.path, "SELECT state, count(*) FROM job GROUP BY 1")))

    def teardown(self) -> None:
        self.close()
        self.loop.close()
        self.folder.cleanup()


TestTheTally = Life.TestCase
TestTheTally.settings = settings(max_examples=20, stateful_step_count=25, deadline=None, database=None)

"""What is noted of images: whose they are, and whether all were seen that were there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.changes import Ended, ImagesNamed, NameLookedUp, NamesListed, Requeued
from batchexport.model import Ending, Job, JobState
from batchexport.store import Work, stores
from tests.store.making import DONE, accept, claim, image, volume

RUN = "20270101-abcdef"  # names hold it in a real run; those of these files do not
LOST = Ending(reason="lost", code="not_sent")


def name(number: int) -> str:
    return f"{volume(number)}-run"


async def test_images_that_were_there_before_anything_was_sent_are_told_from_the_jobs_own(made: Path) -> None:
    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        assert (await work.images.listing(run_id=RUN)).any_unlisted
        await work.commit(ImagesNamed([(name(1), image(7)), ("somebody else's", image(8))]))
        await work.commit(NamesListed())
        assert not (await work.images.listing(run_id=RUN)).any_unlisted
        first, second = await claim(work, 2)
        known = [await work.images.known(job) for job in (first, second)]
    assert [each.before for each in known] == [{image(7)}, frozenset()]
    assert all(each.complete for each in known)


async def test_a_list_after_the_first_request_notes_nothing_for_its_row(made: Path) -> None:
    """What shows then may be the job's own."""
    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        (sent,) = await claim(work)
        await work.commit(ImagesNamed([(name(1), image(7)), (name(2), image(8))]))
        (other,) = await claim(work)
        assert (await work.images.known(sent)).before == frozenset()
        assert (await work.images.known(other)).before == {image(8)}


async def test_without_a_list_nothing_is_known_to_be_complete_until_the_name_is_looked_up(made: Path) -> None:
    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        assert not (await work.images.known(job)).complete
        await work.commit(NameLookedUp(job, [image(9)]))
        known = await work.images.known(job)
        assert (known.complete, known.before) == (True, frozenset([image(9)]))


async def test_after_retry_what_was_looked_up_before_is_complete_no_more(made: Path) -> None:
    async def fail(work: Work) -> Job:
        (job,) = await claim(work)
        work.apply(Ended(job=job, after=JobState.FAILED, ending=DONE, at_s=110.0))
        return job

    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        await work.commit(NamesListed())
        job = await fail(work)
        assert (await work.images.known(job)).complete
        await work.retry()
        again = (await claim(work, 3))[0]
        assert again.job_id == job.job_id
        assert not (await work.images.known(again)).complete
        await work.commit(NameLookedUp(again, []))
        assert (await work.images.known(again)).complete
        work.apply(Ended(job=again, after=JobState.FAILED, ending=DONE, at_s=120.0))
        await work.retry()
        third = (await claim(work, 3))[0]
        assert third.job_id == job.job_id
        assert not (await work.images.known(third)).complete


@pytest.mark.parametrize("sent", [False, True])
async def test_only_a_request_that_may_have_been_sent_leaves_the_time_of_its_intent(
    made: Path, sent: bool
) -> None:
    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        work.apply(Requeued(job=job, ending=LOST, at_s=110.0, next_at=0.0, counted=False, sent=sent))
        again = (await claim(work, now_s=200.0))[0]
        assert (again.job_id, again.intent_at) == (job.job_id, 200.5)
        assert again.first_intent_at == (100.5 if sent else 200.5)
        # Once sent, a later attempt that surely was not does not make it forgotten.
        work.apply(Requeued(job=again, ending=LOST, at_s=210.0, next_at=0.0, counted=False))
        third = (await claim(work, now_s=300.0))[0]
        assert third.first_intent_at == (100.5 if sent else 300.5)


async def test_an_accepted_request_was_sent(made: Path) -> None:
    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        (job,) = await claim(work)
        accept(work, job)
        work.apply(Requeued(job=job, ending=None, at_s=110.0, next_at=0.0, counted=True))
        (again,) = await claim(work, now_s=200.0)
        assert again.first_intent_at == 100.5


async def test_rows_whose_images_show_are_claimed_by_their_names_unless_they_were_sent(made: Path) -> None:
    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        await claim(work)
        claimed = await work.images.claim_named([name(1), name(3), "other"], server_now_s=50.0)
        assert [(job.job_id, job.attempt) for job in claimed] == [(3, 1)]
        assert {job.job_id for job in await work.jobs_in(JobState.SUBMITTING)} == {1, 3}


async def test_rows_whose_image_came_after_the_list_are_claimed_and_it_is_not_proved_theirs(
    made: Path,
) -> None:
    async with stores.open_for_work(made) as state:
        work = await state.take(1)
        found = [(name(1), image(7)), (name(2), image(8)), (name(3), image(9)), ("other", image(6))]
        assert await work.images.claim_appeared(found, server_now_s=50.0) == []  # there was no list
        await work.commit(ImagesNamed([(name(2), image(8))]), NamesListed())
        assert (await work.images.listing(run_id=RUN)).any_listed
        (first,) = await claim(work)
        accept(work, first)
        await work.flush()
        assert (
            await work.images.claim_appeared([(name(3), image(1))], server_now_s=50.0) == []
        )  # it is another's
        claimed = await work.images.claim_appeared(found, server_now_s=50.0)
        assert [(job.job_id, job.attempt, job.attempts_before) for job in claimed] == [(3, 1, 1)]
        assert not (await work.images.known(claimed[0])).complete

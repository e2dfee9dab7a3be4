"""What is learned of a target, and any changes that are to be durable together."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from batchexport import changes
from batchexport.changes import Change, Fact
from batchexport.store.sqlite import images, labels, resources
from batchexport.store.sqlite.changes import bulk_of, forbidden, set_sizes


def make_all(db: sqlite3.Connection, target_id: int, together: Sequence[Change]) -> None:
    """Make these changes, all of them or none. Raises StateError where one is not allowed."""
    db.execute("SAVEPOINT changes")
    try:
        for change in together:
            if isinstance(change, Fact):
                note(db, target_id, change)
            elif not bulk_of(change).make(db, target_id, [change]):
                raise forbidden(db, change)
    except BaseException:
        db.execute("ROLLBACK TO changes")
        raise
    finally:
        db.execute("RELEASE changes")


def note(db: sqlite3.Connection, target_id: int, fact: Fact) -> None:
    """Keep what was learned about the target, or became of its resources."""
    match fact:
        case changes.RateLearned(rate):
            db.execute("UPDATE target SET requests_per_second = ? WHERE target_id = ?", (rate, target_id))
        case changes.SizesLearned(size_gib_of):
            set_sizes(db, target_id, size_gib_of)
        case changes.NamesLearned(name_of):
            labels.add_listed_names(db, target_id, name_of)
        case changes.ImagesSeen(status_of):
            labels.note_statuses(db, target_id, status_of)
        case changes.NameLookedUp(job, image_ids):
            images.note_look(db, job, image_ids)
        case changes.ImagesDisowned(job, image_ids):
            images.note_before(db, job.job_id, image_ids)
        case changes.ImagesNamed(named):
            images.note_named(db, target_id, named)
        case changes.NamesListed():
            images.note_list(db, target_id)
        case changes.RemovalEnded():
            images.end_removal(db, fact)
        case _:
            _note_resources(db, target_id, fact)


def _note_resources(db: sqlite3.Connection, target_id: int, fact: Fact) -> None:
    match fact:
        case changes.ResourcesAcquiring(found=found, at_s=at):
            resources.acquiring(db, target_id, found, at=at)
        case changes.ResourcesHeld(resources=refs, at_s=at):
            resources.held(db, target_id, refs, at=at)
        case changes.ResourceCreated(ref, cloud_id):
            resources.created(db, target_id, ref, cloud_id)
        case changes.DuplicateFound():
            resources.duplicate(db, target_id, fact)
        case changes.ResourcesReleased(resources=refs, at_s=at, is_lost=is_lost):
            resources.released(db, target_id, refs, is_lost=is_lost, at=at)
        case changes.ResourcesSeenFree(resources=refs, at_s=at):
            resources.seen_free(db, target_id, refs, at=at)
        case changes.ResourceNoted(ref, note):
            resources.note(db, target_id, ref, note)
        case changes.ResourceGivenUp(resource_id=resource_id, reason=reason, at_s=at):
            resources.give_up(db, target_id, resource_id, reason, at=at)
        case changes.JobNeeds(job, needs):
            resources.link(db, target_id, job.job_id, needs)
        case changes.JobsReleased(jobs=jobs, at_s=at):
            resources.release(db, target_id, [job.job_id for job in jobs], next_at=at)
        case changes.JobsDetached(jobs):
            resources.let_go(db, target_id, [job.job_id for job in jobs])

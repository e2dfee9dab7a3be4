"""Job lists and state files of any length, made once in a folder."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from target import volume_id

from batchexport import intake
from batchexport.config import Settings


def job_list(folder: Path, rows: int, *, shuffled: bool = False) -> Path:
    """A list with ids in no order and names that rise, or do not where it is `shuffled`."""
    path = folder / f"{rows}{'-shuffled' if shuffled else ''}.csv"
    numbers = range(rows)
    if not path.exists():
        order = random.Random(1).sample(numbers, rows) if shuffled else numbers
        with path.open("w") as file:
            file.write("volume_id,image_name\n")
            file.writelines(f"{volume_id(number)},image-{number:07d}\n" for number in order)
    return path


def almost_done(folder: Path, rows: int, left: int) -> Path:
    """A state file of so many rows, of which all but `left` are exported."""
    path = folder / f"{rows}.state"
    path.unlink(missing_ok=True)
    intake.prepare(job_list(folder, rows), path, Settings())
    done = rows - left
    db = sqlite3.connect(path)
    # Without its trigger, which would count the rows one by one; the sums are set below.
    (trigger,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'job_counted'").fetchone()
    db.execute("DROP TRIGGER job_counted")
    db.execute(
        "INSERT INTO operation (operation_id, job_id, attempt, intent_at, accepted_at, image_id, ended_at,"
        " outcome, reason, request_id)"
        " SELECT job_id, job_id, 1, 1, 1, volume_id, 2, 'succeeded', 'active', volume_id"
        " FROM job WHERE job_id <= ?",
        (done,),
    )
    db.execute(
        "UPDATE job SET state = 'succeeded', attempt = 1, intent_at = 1, first_intent_at = 1, "
        "accepted_at = 1, image_id = volume_id, request_id = volume_id, deadline_at = 2, "
        "size_gib = 10, finished_at = 2, operation_id = job_id WHERE job_id <= ?",
        (done,),
    )
    db.execute("UPDATE tally SET jobs = ? WHERE state = 'pending'", (left,))
    db.execute(
        "UPDATE tally SET jobs = ?, gib = ?, sized_jobs = ? WHERE state = 'succeeded'",
        (done, 10 * done, done),
    )
    db.execute(trigger)
    db.commit()
    db.close()
    return path

"""Consent to stopping servers was given for the rows of a list as they were."""

import asyncio
from pathlib import Path

import pytest

from batchexport.model import NO_OPTIONS, ImageOptions, InUse, JobRow, TargetKey
from batchexport.store import RunRecord, StateFile, StateReader, building, stores
from tests.engine.conftest import volume_ids
from tests.engine.fake_cloud import EPOCH

FIRST, SECOND, THIRD = volume_ids(3)
FORCED = ImageOptions(in_use=InUse.FORCE)


def load(path: Path, rows: dict[str, ImageOptions], *, sha: str) -> Path:
    """A list of these volumes with their options."""
    path.unlink(missing_ok=True)
    with building(path) as build:
        for line, (volume_id, options) in enumerate(rows.items(), 1):
            row = JobRow(line=line, volume_id=volume_id, image_name=None, target=TargetKey(), options=options)
            build.add(row, f"{volume_id}-night")
        build.finish(
            RunRecord(
                run_id="20270115-aaaaaa",
                created_at=EPOCH,
                list_name="list.csv",
                list_sha256=sha * 64,
                rows=len(rows),
                settings="{}",
                version="0",
            )
        )
    return path


async def agree(path: Path) -> None:
    async with StateFile.open(path) as state:
        await state.agree(InUse.STOP)


@pytest.mark.parametrize(
    ("lists", "agreed"),
    [
        ([{FIRST: NO_OPTIONS, SECOND: NO_OPTIONS}], True),
        ([{SECOND: NO_OPTIONS}], True),
        ([{FIRST: NO_OPTIONS, SECOND: NO_OPTIONS, THIRD: NO_OPTIONS}], False),
        ([{FIRST: FORCED, SECOND: NO_OPTIONS}], False),
        ([{SECOND: NO_OPTIONS}, {FIRST: NO_OPTIONS, SECOND: NO_OPTIONS}], False),
    ],
    ids=["the same", "one left out", "one more", "one otherwise", "one that came back"],
)
def test_consent_does_not_reach_rows_that_were_not_in_the_list(
    tmp_path: Path, lists: list[dict[str, ImageOptions]], agreed: bool
) -> None:
    path = load(tmp_path / "list.state", {FIRST: NO_OPTIONS, SECOND: NO_OPTIONS}, sha="0")
    for number, rows in enumerate(lists, 1):
        asyncio.run(agree(path))
        stores.update(path, load(tmp_path / "fresh.state", rows, sha=str(number)))
    with StateReader(path) as reader:
        assert reader.run.may_stop is agreed

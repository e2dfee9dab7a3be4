from batchexport.changes import allowed_changes
from batchexport.model import FINAL_STATES, NO_OPTIONS, ImageOptions, JobState, TargetKey

ALLOWED_CHANGES = allowed_changes()


def test_every_state_has_its_row_in_the_table_of_changes() -> None:
    assert set(ALLOWED_CHANGES) == set(JobState)


def test_no_change_leads_from_a_final_state_into_an_unwatched_export_but_by_adoption() -> None:
    into_exporting = {state for state, after in ALLOWED_CHANGES.items() if JobState.EXPORTING in after}
    assert into_exporting == {JobState.SUBMITTING, JobState.AMBIGUOUS}


def test_nothing_ever_leaves_succeeded() -> None:
    assert ALLOWED_CHANGES[JobState.SUCCEEDED] == frozenset()
    assert JobState.SUCCEEDED in FINAL_STATES


def test_options_of_a_row_are_filled_from_below_and_never_replaced() -> None:
    row = ImageOptions(disk_format="raw", force=False)
    run = ImageOptions(disk_format="qcow2", force=True, visibility="shared", timeout_s=60.0)
    assert row.over(run) == ImageOptions(disk_format="raw", force=False, visibility="shared", timeout_s=60.0)
    assert NO_OPTIONS.over(run) is run


def test_a_target_is_named_by_the_parts_it_has() -> None:
    assert str(TargetKey()) == "default"
    assert str(TargetKey(cloud="otc", project="p1")) == "otc/default/p1"

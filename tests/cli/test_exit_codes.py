from collections import Counter
from typing import Any

import pytest

from batchexport.app.run import exit_code
from batchexport.model import JobState
from batchexport.report.totals import Totals


@pytest.mark.parametrize(
    ("rows", "stopped", "wait", "code"),
    [
        ({JobState.SUCCEEDED: 2, JobState.SKIPPED: 1}, None, True, 0),
        ({JobState.SUCCEEDED: 2, JobState.FAILED: 1}, None, True, 3),
        ({JobState.SUCCEEDED: 2, JobState.AMBIGUOUS: 1}, None, True, 3),
        ({JobState.PENDING: 1}, 130, True, 130),
        ({JobState.PENDING: 1, JobState.FAILED: 1}, 143, True, 143),
        ({JobState.SUCCEEDED: 1}, 130, True, 0),
        ({JobState.FAILED: 1}, 143, True, 3),
        ({JobState.EXPORTING: 1}, None, False, 0),
        ({JobState.EXPORTING: 1, JobState.FAILED: 1}, None, False, 3),
        ({JobState.EXPORTING: 1}, None, True, 6),
    ],
)
def test_the_exit_code_follows_from_rows_signal_and_waiting(
    rows: dict[JobState, int], stopped: Any, wait: bool, code: int
) -> None:
    assert exit_code(Totals(Counter(rows), Counter(), 0), stopped=stopped, wait=wait) == code


def test_a_run_whose_images_are_not_known_to_be_whole_is_no_plain_success() -> None:
    """A script at 3 a.m. reads the exit code, and not the words."""
    totals = Totals(Counter({JobState.SUCCEEDED: 2}), Counter(), 0)
    assert exit_code(totals, stopped=None, wait=True, suspect=1) == 3
    assert exit_code(totals, stopped=143, wait=True, suspect=1) == 3
    pending = Totals(Counter({JobState.SUCCEEDED: 2, JobState.PENDING: 1}), Counter(), 0)
    assert exit_code(pending, stopped=143, wait=True, suspect=1) == 143
    assert exit_code(pending, stopped=None, wait=True, in_window=True, suspect=1) == 75

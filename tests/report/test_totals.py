from hypothesis import given
from hypothesis import strategies as st

from batchexport.model import JobState, TargetKey
from batchexport.report.totals import ENDED, Totals, gib_text, rows_text, totals_json
from batchexport.store import StateReader, Tally

tallies = st.lists(
    st.builds(
        Tally,
        target=st.just(TargetKey()),
        state=st.sampled_from(JobState),
        jobs=st.integers(0, 10**6),
        gib=st.integers(0, 10**6),
        sized_jobs=st.just(0),
    )
)


@given(tallies)
def test_the_rows_always_add_up(tallies: list[Tally]) -> None:
    totals = Totals.of(tallies)
    assert totals.all_rows == sum(totals.rows[state] for state in ENDED) + totals.to_do


@given(tallies)
def test_the_written_sum_adds_up_too(tallies: list[Tally]) -> None:
    left, _, right = rows_text(Totals.of(tallies)).replace(",", "").partition(" = ")
    assert int(left.split()[0]) == sum(int(part.split()[0]) for part in right.split(" + "))


def test_rows_of_unknown_size_are_told(reader: StateReader) -> None:
    totals = Totals.of(reader.overview().tallies)
    assert gib_text(totals) == "100 GiB exported, 100 GiB to do (size of 5 rows not known)"


def test_json_has_every_state_even_where_no_row_is_in_it() -> None:
    content = totals_json(Totals.of([]))
    assert content["rows"] == content["to_do"] == 0
    assert {str(state) for state in JobState} <= content.keys()

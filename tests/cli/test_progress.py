import asyncio
import io
from contextlib import redirect_stderr

import pytest

from batchexport.cli.figures import Figures, progress_line, side_note
from batchexport.cli.progress import Bars, Lines, Silence, progress_for, shown
from batchexport.cli.talk import Talk, say
from batchexport.model import NO_OPTIONS, Job, JobState, TargetKey
from batchexport.store import Tally

PENDING, EXPORTING, SUCCEEDED, FAILED = (
    JobState.PENDING,
    JobState.EXPORTING,
    JobState.SUCCEEDED,
    JobState.FAILED,
)


def tally(state, jobs, gib=0, sized_jobs=0):
    return Tally(target=TargetKey(), state=state, jobs=jobs, gib=gib, sized_jobs=sized_jobs)


def job(size_gib=None):
    return Job(job_id=1, volume_id="v", image_name="i", options=NO_OPTIONS, size_gib=size_gib)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_one_row_is_no_rows():
    figures = Figures()
    figures.rows[JobState.PENDING] = 1
    assert progress_line(figures, done_before=0, elapsed_s=1) == "0 of 1 row done"


def test_figures_begin_where_the_state_file_is():
    figures = Figures.of([tally(SUCCEEDED, 2, 30, 2), tally(EXPORTING, 1, 10, 1), tally(PENDING, 7)])
    assert (figures.total, figures.done, figures.gib_done) == (10, 2, 30)


def test_a_change_moves_a_row_and_its_gib():
    figures = Figures.of([tally(PENDING, 2)])
    figures.change(job(), PENDING, JobState.SUBMITTING)
    figures.change(job(40), JobState.SUBMITTING, EXPORTING)
    assert (figures.done, figures.gib_done) == (0, 0)
    figures.change(job(40), EXPORTING, SUCCEEDED)
    assert (figures.done, figures.gib_done) == (1, 40)


def test_gib_to_come_are_reckoned_from_the_volumes_seen():
    figures = Figures.of([tally(EXPORTING, 2, 60, 2), tally(PENDING, 8), tally(FAILED, 5)])
    assert figures.gib_total == 300


def test_gib_are_exact_once_every_volume_was_seen():
    assert Figures.of([tally(EXPORTING, 1, 61, 1), tally(SUCCEEDED, 1, 30, 1)]).gib_total == 91


def test_an_export_that_failed_takes_its_gib_back():
    figures = Figures.of([tally(EXPORTING, 2, 60, 2)])
    figures.change(job(20), EXPORTING, FAILED)
    assert figures.gib_total == 40


def test_without_a_size_there_are_no_gib():
    assert Figures.of([tally(PENDING, 3)]).gib_total == 0


def test_the_note_tells_only_what_there_is():
    assert side_note(Figures.of([tally(EXPORTING, 2), tally(FAILED, 1), tally(PENDING, 5)])) == (
        "2 exporting, 1 failed"
    )


def test_a_line_tells_rows_gib_rate_and_time_left():
    figures = Figures.of([tally(SUCCEEDED, 30, 300, 30), tally(PENDING, 20)])
    assert progress_line(figures, done_before=10, elapsed_s=60) == (
        "30 of 50 rows done, 300 of 500 GiB, 20.0 rows/min, about 1 min left"
    )


def test_a_line_tells_no_rate_before_a_row_is_done():
    figures = Figures.of([tally(SUCCEEDED, 10), tally(PENDING, 20)])
    assert progress_line(figures, done_before=10, elapsed_s=60) == "10 of 30 rows done"


def test_the_last_line_has_no_time_left():
    figures = Figures.of([tally(SUCCEEDED, 10)])
    assert progress_line(figures, done_before=0, elapsed_s=60) == "10 of 10 rows done, 10.0 rows/min"


def test_bars_show_rows_and_from_the_first_size_on_gib(terminal):
    figures = Figures.of([tally(PENDING, 4)])
    with redirect_stderr(terminal):
        bars = Bars(figures)
        assert "GiB" not in terminal.getvalue()
        figures.change(job(10), PENDING, EXPORTING)
        bars.show()
        figures.change(job(10), EXPORTING, SUCCEEDED)
        bars.close()
    assert "1/4" in terminal.getvalue()
    assert "10/40" in terminal.getvalue()


def test_bars_without_a_size_end_without_gib(terminal):
    with redirect_stderr(terminal):
        Bars(Figures.of([tally(FAILED, 4)])).close()
    assert "4/4" in terminal.getvalue()
    assert "GiB" not in terminal.getvalue()


def test_a_line_beside_bars_stands_whole(terminal):
    with redirect_stderr(terminal):
        bars = Bars(Figures.of([tally(PENDING, 4)]))
        say("a line of its own")
        bars.close()
    assert "\ra line of its own\n" in terminal.getvalue()


@pytest.mark.parametrize(("talk", "kind"), [(Talk(), Bars), (Talk(quiet=True), Silence)])
def test_a_terminal_gets_bars_unless_quiet(terminal, talk, kind):
    with redirect_stderr(terminal):
        progress = progress_for(Figures.of([tally(PENDING, 1)]), talk)
        progress.close()
    assert type(progress) is kind


def test_a_terminal_that_cannot_be_painted_on_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(terminal):
        assert type(progress_for(Figures(), Talk())) is Lines


async def test_progress_is_shown_at_its_pace_and_once_at_the_end():
    class Counted(Silence):
        every_s = 0.001
        seen = 0
        closed = 0

        def show(self):
            self.seen += 1
            if self.seen == 3:
                enough.set()

        def close(self):
            self.closed += 1

    enough, counted = asyncio.Event(), Counted()
    with shown(counted):
        await asyncio.wait_for(enough.wait(), 5)
        assert counted.closed == 0
    assert counted.closed == 1


def test_lines_reckon_from_their_start(capsys):
    times = iter([100.0, 160.0])
    figures = Figures.of([tally(SUCCEEDED, 1), tally(PENDING, 3)])
    lines = Lines(figures, clock=lambda: next(times))
    figures.change(job(), PENDING, SUCCEEDED)
    lines.close()
    assert capsys.readouterr().err == "2 of 4 rows done, 1.0 rows/min, about 2 min left\n"


def test_silence_is_silent(capsys):
    Silence().show()
    Silence().close()
    assert capsys.readouterr().err == ""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from batchexport.app.control import Answer
from batchexport.cli.console import TerminalConsole
from batchexport.cli.progress import (
    Bars,
    Counters,
    Lines,
    Meter,
    Silence,
    bar_lines,
    progress_for,
    progress_line,
    shown,
    side_note,
)
from batchexport.cli.screen import Screen
from batchexport.model import JobState, TargetKey
from batchexport.report.eta import Eta, RunningExport
from batchexport.report.totals import Totals
from batchexport.store import StateReader, Tally
from tests.report.state_files import AT, build_mixed

PENDING, EXPORTING, SUCCEEDED, FAILED = (
    JobState.PENDING,
    JobState.EXPORTING,
    JobState.SUCCEEDED,
    JobState.FAILED,
)
NOW = 10_000.0


def tally(state: JobState, jobs: int, gib: int = 0, sized_jobs: int = 0) -> Any:
    return Tally(target=TargetKey(), state=state, jobs=jobs, gib=gib, sized_jobs=sized_jobs)


def counters(*tallies: Any, **more: Any) -> Any:
    return Counters(totals=Totals.of(tallies), at=NOW, **more)


def pace(**more: Any) -> Any:
    return Eta(**{"rows_per_minute": None, "gib_per_hour": None, "left_s": None} | more)


def export(age_s: int, *, name: str = "db-01", size_gib: int = 415, **more: Any) -> Any:
    return RunningExport(
        name=name,
        size_gib=size_gib,
        accepted_at=NOW - age_s,
        deadline_at=NOW + 1,
        **more,
    )


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> Any:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Any]:
    await build_mixed(tmp_path / "night.state")
    with StateReader(tmp_path / "night.state") as reader:
        yield reader


def test_one_row_is_no_rows() -> None:
    assert progress_line(counters(tally(PENDING, 1))) == "0 of 1 row done"


def test_gib_to_come_are_those_of_the_state_file_and_those_of_no_image_do_not_count() -> None:
    found = counters(tally(EXPORTING, 2, 60, 2), tally(PENDING, 8, 240, 8), tally(FAILED, 5, 900, 4))
    assert (found.gib_done, found.gib_total) == (0, 300)


def test_volumes_that_nobody_has_seen_count_as_the_mean_of_the_others() -> None:
    found = counters(tally(EXPORTING, 2, 60, 2), tally(PENDING, 8))
    assert (found.gib_total, found.gib_words) == (300, "0 of about 300")
    assert counters(tally(EXPORTING, 2, 60, 2)).gib_words == "0 of 60"


def test_without_a_size_there_are_no_gib() -> None:
    assert counters(tally(PENDING, 3)).gib_total == 0


def test_the_note_tells_only_what_there_is() -> None:
    assert side_note(counters(tally(EXPORTING, 2), tally(FAILED, 1), tally(PENDING, 5))) == (
        "2 exporting, 1 failed"
    )
    assert side_note(counters(tally(EXPORTING, 2), stalled=1, servers_down=2)) == (
        "2 exporting, 1 stalled, 2 servers down"
    )


def test_a_line_tells_rows_gib_rate_and_time_left() -> None:
    found = counters(
        tally(SUCCEEDED, 30, 300, 30),
        tally(PENDING, 20, 200, 20),
        eta=pace(rows_per_minute=20.0, left_s=60.0),
        rates=[3.03],
    )
    assert progress_line(found) == (
        "30 of 50 rows done, 300 of 500 GiB, 20.0 rows/min, about 1 min left,"
        " throttled to 3 requests/s by the cloud"
    )


def test_the_last_line_has_no_time_left() -> None:
    found = counters(tally(SUCCEEDED, 10), eta=pace(rows_per_minute=10.0, left_s=5.0))
    assert progress_line(found) == "10 of 10 rows done, 10.0 rows/min"


def test_where_nothing_ends_any_more_that_is_said_and_what_is_under_way_is_named() -> None:
    found = counters(
        tally(EXPORTING, 2, 500, 2),
        eta=pace(quiet_s=700.0),
        under_way=[export(3900, image_status="queued"), export(30, name="young"), export(600, name="web")],
    )
    assert progress_line(found) == (
        "0 of 2 rows done (2 exporting), 0 of 500 GiB, nothing has ended for 11 min 40 s;"
        " slowest: db-01 415 GiB 1 h 5 min image queued, web 415 GiB 10 min"
    )


def test_bars_are_as_wide_as_the_terminal_allows_and_no_wider() -> None:
    found = counters(
        tally(SUCCEEDED, 1, 10, 1),
        tally(PENDING, 3, 30, 3),
        eta=pace(left_s=90.0),
        under_way=[export(100)],
    )
    rows, gib, slowest = bar_lines(found, 79)
    assert rows == f"rows  25% |{'█' * 10}{' ' * 30}| 1 of 4"
    assert gib.endswith("| 10 of 40  about 1 min 30 s left")
    assert slowest == "slowest: db-01 415 GiB 1 min 40 s"
    narrow = bar_lines(found, 40)
    assert narrow[2] == "about 1 min 30 s left"
    assert all(len(line) <= 40 for line in narrow)
    assert "#" in bar_lines(found, 79, blocks=False)[0]


def test_what_is_all_done_is_a_full_bar_and_no_more() -> None:
    (line,) = bar_lines(counters(tally(SUCCEEDED, 4), tally(FAILED, 2)), 60)
    assert "100%" in line and "4 of 4  2 failed" in line


def test_rows_of_which_no_image_comes_are_neither_done_nor_to_come() -> None:
    found = counters(
        tally(SUCCEEDED, 10), tally(PENDING, 30), tally(FAILED, 100), tally(JobState.SKIPPED, 60)
    )
    assert progress_line(found) == "10 of 40 rows done (100 failed, 60 skipped)"
    assert bar_lines(found, 79)[0].startswith("rows  25% ")
    assert progress_line(counters(tally(FAILED, 4))) == "0 of 0 rows done (4 failed)"


def five() -> Answer:
    """A run that may send five requests/s."""
    return Answer(requests_per_second=5.0)


def test_a_run_that_is_paused_or_drains_says_so(reader: StateReader) -> None:
    paused = Meter(reader, standing=lambda: Answer(is_paused=True)).counters()
    assert "paused by ctl: nothing new begins" in progress_line(paused)
    draining = Meter(reader, standing=lambda: Answer(is_paused=True, is_draining=True)).counters()
    assert "draining: nothing new begins" in progress_line(draining)
    assert "begins" not in progress_line(Meter(reader).counters())


def test_a_meter_reads_the_state_file_and_sees_only_what_ended_since_it_began(reader: StateReader) -> None:
    class Cloud:
        requests_per_second = 2.5

    times = iter([AT + 300, AT + 700])
    meter = Meter(reader, {TargetKey(): Cloud()}, standing=five, now=lambda: next(times))
    found = meter.counters()
    assert (found.total, found.done, found.rates) == (3, 1, [2.5])
    assert found.eta.rows_per_minute is not None
    assert [each.name for each in found.under_way] == ["00000005-0000-4000-8000-000000000000"]
    late = Meter(reader, now=lambda: AT + 5000).counters()
    assert (late.eta.rows_per_minute, late.stalled) == (None, 1)


def test_a_cloud_that_takes_what_the_settings_allow_limits_nothing(reader: StateReader) -> None:
    class Cloud:
        requests_per_second = 5.0

    assert Meter(reader, {TargetKey(): Cloud()}, standing=five).counters().rates == []


def test_a_meter_of_a_file_that_cannot_be_read_shows_what_it_read_last(reader: StateReader) -> None:
    meter = Meter(reader)
    before = meter.counters()
    reader.close()
    assert meter.counters().total == before.total == 3


@pytest.mark.parametrize(
    ("console", "kind"), [(TerminalConsole(), Bars), (TerminalConsole(quiet=True), Silence)]
)
def test_a_terminal_gets_bars_unless_quiet(
    terminal: Any, reader: StateReader, console: Any, kind: type[Any]
) -> None:
    with redirect_stderr(terminal):
        progress = progress_for(Meter(reader), console, Screen(terminal))
        progress.close()
    assert type(progress) is kind
    assert ("1 of 3" in terminal.getvalue()) is (kind is Bars)


def test_a_terminal_that_cannot_be_painted_on_gets_lines(
    terminal: Any, reader: StateReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(terminal):
        assert type(progress_for(Meter(reader), TerminalConsole(), Screen(terminal))) is Lines


async def test_progress_is_shown_at_its_pace_and_once_at_the_end() -> None:
    class Counted(Silence):
        every_s = 0.001
        seen = 0
        closed = 0

        def show(self) -> None:
            self.seen += 1
            if self.seen == 3:
                enough.set()

        def close(self) -> None:
            self.closed += 1

    enough, counted = asyncio.Event(), Counted()
    with shown(counted):
        await asyncio.wait_for(enough.wait(), 5)
        assert counted.closed == 0
    assert counted.closed == 1


def test_lines_are_said_one_after_the_other(capsys: pytest.CaptureFixture[str], reader: StateReader) -> None:
    lines = Lines(Meter(reader, now=lambda: AT + 700))
    lines.show()
    lines.close()
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in said] == ["1 of 3 rows done"] * 2


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    Silence().show()
    Silence().close()
    assert capsys.readouterr().err == ""


def test_rows_that_the_cloud_never_saw_are_not_among_those_to_copy() -> None:
    totals = Totals.of([tally(FAILED, 3), tally(PENDING, 2, 20, 2)])
    assert (totals.unsized, totals.unsized_to_do, totals.gib_to_do) == (3, 0, 20)
    assert isinstance(totals.rows, Counter)

"""What a terminal shows, by a small terminal that does as it is told."""

import io
import logging
import os
import sys
from typing import Any

import pytest

from batchexport.cli import screen as module
from batchexport.cli.console import TerminalConsole, err, marked, out, write
from batchexport.cli.logs import start_log
from batchexport.cli.screen import Screen, leave_at_once, unblocked_stderr


class Terminal:
    """Lines of text, a cursor, and what `Screen` uses: CR, LF, cursor up, clear to the end."""

    def __init__(self, columns: int = 40) -> None:
        self.columns, self.rows, self.row, self.column = columns, [""], 0, 0

    def write(self, text: str) -> Any:
        place = 0
        while place < len(text):
            if text.startswith("\x1b[", place):
                end = next(at for at in range(place + 2, len(text)) if text[at].isalpha())
                self._command(text[end], text[place + 2 : end])
                place = end + 1
                continue
            self._put(text[place])
            place += 1
        return len(text)

    def flush(self) -> None:
        pass

    def _put(self, character: Any) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row, self.column = self.row + 1, 0
        else:
            if self.column == self.columns:
                self.row, self.column = self.row + 1, 0
            self._make_row()
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
            self.column += 1
        self._make_row()

    def _make_row(self) -> None:
        self.rows += [""] * (self.row + 1 - len(self.rows))

    def _command(self, name: str, value: str) -> None:
        if name == "A":
            self.row = max(0, self.row - int(value or 1))
        elif name == "J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            del self.rows[self.row + 1 :]
        else:
            raise AssertionError(f"a terminal may not know {name}")

    def resize(self, columns: int) -> None:
        """Wrap what is there anew, as most terminals do; the cursor stays at its character."""
        rows: list[str] = []
        cursor = 0
        for number, row in enumerate(self.rows):
            if number == self.row:
                cursor = len(rows) + self.column // columns
            rows += [row[at : at + columns] for at in range(0, max(1, len(row)), columns)]
        self.rows, self.row, self.columns = rows, cursor, columns

    @property
    def text(self) -> Any:
        return [row.rstrip() for row in self.rows if row.strip()]


def screen_on(terminal: Any) -> Any:
    return Screen(terminal, columns=lambda: terminal.columns)


def test_the_status_stays_under_the_lines_and_is_painted_over() -> None:
    terminal = Terminal()
    screen = screen_on(terminal)
    screen.paint(["rows 1", "GiB 1"])
    screen.line("a warning")
    screen.paint(["rows 2", "GiB 2", "slowest: x"])
    screen.line("another")
    screen.paint(["rows 3"])
    assert terminal.text == ["a warning", "another", "rows 3"]
    screen.leave()
    screen.line("the end")
    assert terminal.text == ["a warning", "another", "rows 3", "the end"]


@pytest.mark.parametrize("columns", [10, 15, 25, 60])
def test_a_terminal_of_another_width_shows_no_remains(columns: int) -> None:
    terminal = Terminal(40)
    screen = screen_on(terminal)
    screen.line("a warning")
    screen.paint(["rows " + "x" * 30, "GiB " + "y" * 30])
    terminal.resize(columns)
    screen.paint(["rows 2", "GiB 2"])
    assert terminal.text == ["a warning", "rows 2", "GiB 2"]
    screen.paint(["rows " + "x" * 80])
    assert all(len(row) < columns for row in terminal.rows)


def test_a_screen_whose_reader_went_away_is_not_worth_an_error() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    screen = Screen(Gone())
    screen.line("hello")
    screen.paint(["rows"])
    screen.leave()


def test_a_stuck_stderr_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchexport.background_writer.CLOSE_S", 0.05)
    monkeypatch.setattr("batchexport.background_writer.BackgroundWriter.drain.__defaults__", (0.05,))
    reader, end = os.pipe()
    with open(end, "w") as stuck, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123  a descriptor
        patch.setattr(sys, "stderr", stuck)
        with unblocked_stderr(TerminalConsole()) as screen:
            start_log(TerminalConsole())
            for number in range(5000):
                err(f"line {number} " + "x" * 100)
                logging.getLogger("batchexport").warning("a warning")
            assert not screen.is_taking
            screen.paint(["not worth a place in the queue"])
        os.set_blocking(reader, False)
        assert os.read(reader, 100_000).startswith(b"line 0 ")
        os.close(reader)


def test_lines_arrive_and_those_after_it_go_the_usual_way(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.dup(2), "w") as real, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123  a descriptor
        patch.setattr(sys, "stderr", real)
        with unblocked_stderr(TerminalConsole()):
            err("one")
            write("two")
        err("three")
        real.flush()
    assert capfd.readouterr().err == "one\ntwo\nthree\n"


def test_leaving_at_once_says_the_last_words_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    leave_at_once(143)
    assert left == [143]
    assert module.terminal_columns() > 0


STEERING = "\x1b]0;owned\x07 \x1b[31mred\x9b1m \u202eevil\r back"


def test_nothing_that_is_told_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    err(STEERING)
    out(f"{STEERING}\n\tsecond line")
    printed, said = capsys.readouterr()
    assert said == repr(STEERING)[1:-1] + "\n"
    assert printed == repr(STEERING)[1:-1] + "\n\tsecond line\n"


def test_our_own_colours_stay_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    taken: list[str] = []
    monkeypatch.setattr("batchexport.cli.console._taker", taken.append)
    write(f"{marked('error:', 'red')} {STEERING}")
    assert taken[0].startswith("\x1b[31m\x1b[1merror:\x1b[0m \\x1b]0;owned")
    assert "\x1b]" not in taken[0] and "\x07" not in taken[0] and "\x9b" not in taken[0]

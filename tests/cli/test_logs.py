import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.background_writer import drain_all
from batchexport.cli.console import TerminalConsole, err, marked
from batchexport.cli.logs import JsonLines, ScreenHandler, start_log
from batchexport.log_level import NOTICE
from tests.cli.lists import write_list
from tests.cli.served import IDS, served, volumes
from tests.store.making import make

log = logging.getLogger("batchexport.somewhere")


def spoken(capsys: pytest.CaptureFixture[str], **console: Any) -> list[str]:
    """What is left on stderr of one record of each level."""
    start_log(TerminalConsole(**console))
    log.debug("a debug line")
    log.info("an info line", extra={"action": "claimed", "job_id": 7})
    log.warning("a warning")
    log.error("an error")
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("console", "lines"),
    [({"quiet": True}, 1), ({}, 2), ({"verbose": 1}, 3), ({"verbose": 2}, 4), ({"verbose": 5}, 4)],
)
def test_verbosity_chooses_the_levels(capsys: pytest.CaptureFixture[str], console: Any, lines: int) -> None:
    assert len(spoken(capsys, **console)) == lines


def test_a_line_of_text_has_time_level_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    time, level, *words = spoken(capsys)[0].split()
    assert (len(time), level, words) == (8, "WARNING", ["a", "warning"])


def test_json_has_one_object_a_line_with_what_extra_added(capsys: pytest.CaptureFixture[str]) -> None:
    line = json.loads(spoken(capsys, verbose=1, log_format="json")[0])
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "batchexport.somewhere",
        "message": "an info line",
        "action": "claimed",
        "job_id": 7,
    }


def test_a_traceback_stays_on_its_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    start_log(TerminalConsole(log_format="json"))
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: odd" in json.loads(line)["traceback"]


def test_other_libraries_do_not_speak(capsys: pytest.CaptureFixture[str]) -> None:
    start_log(TerminalConsole(verbose=2))
    logging.getLogger("keystoneauth.session").debug("X-Auth-Token: secret")
    assert capsys.readouterr().err == ""


def test_a_record_that_cannot_be_written_is_left_to_logging(capsys: pytest.CaptureFixture[str]) -> None:
    ScreenHandler().handle(logging.makeLogRecord({"msg": "%d rows", "args": ("not a number",)}))
    assert "--- Logging error ---" in capsys.readouterr().err


def test_a_closed_stderr_is_not_worth_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, _: bytes | str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    gone = Gone()
    monkeypatch.setattr(sys, "stderr", gone)
    err("hello")
    assert sys.stderr is gone


def test_words_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert marked("error:", "red") == "error:"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in marked("error:", "red")
    monkeypatch.setenv("NO_COLOR", "1")
    assert marked("error:", "red") == "error:"


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "volumes.csv"],
        ["verify", "a.state"],
        ["doctor"],
        ["discover"],
        ["reconcile", "a.state"],
        ["cleanup", "a.state"],
        ["run", "volumes.csv"],
    ],
    ids=lambda words: words[0],
)
def test_whatever_visits_a_cloud_lets_libraries_speak_in_the_form_that_was_asked_for(
    batchexport: Callable[..., Result], words: list[str]
) -> None:
    logging.getLogger("openstack").handlers = []
    write_list(Path("volumes.csv"), 1)
    make(Path("a.state"))
    batchexport(*words, "--os-cloud", "none", "--log-format", "json")
    (handler,) = logging.getLogger("openstack").handlers
    assert isinstance(handler.formatter, JsonLines)


def test_saying_all_names_each_request_with_its_answer(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        result = batchexport("discover", "--os-cloud", "served", "-vv")
    assert result.exit_code == 0
    requests = [line for line in result.stderr.splitlines() if " DEBUG GET " in line]
    assert requests
    assert all(re.search(r"GET http://\S*: 200 in \d+ ms, request req-", line) for line in requests)


def test_an_ordinary_event_is_shown_as_information(capsys: pytest.CaptureFixture[str]) -> None:
    start_log(TerminalConsole())
    log.log(NOTICE, "server a is up again")
    log.info("a detail")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.split()[1:] == ["INFO", "server", "a", "is", "up", "again"]


def test_a_log_file_gets_every_change_even_if_stderr_is_quiet(batchexport: Callable[..., Result]) -> None:
    with served(*volumes()):
        Path("list.csv").write_text("volume_id\n" + "\n".join(IDS[:2]))
        result = batchexport("run", "list.csv", "--os-cloud", "served", "-q", "--log-file", "log.txt")
    assert result.exit_code == 0 and result.stderr == ""
    drain_all(3.0)
    lines = Path("log.txt").read_text().splitlines()
    assert sum("exporting -> succeeded" in line for line in lines) == 2
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ ", line) for line in lines)


def test_a_log_file_gets_errors_and_with_vv_requests_without_secrets(
    batchexport: Callable[..., Result],
) -> None:
    words = ("--log-file", "log.jsonl", "--log-format", "json")
    with served(*volumes()):
        assert batchexport("doctor", "--os-cloud", "served", "-vv", *words).exit_code == 0
    assert batchexport("run", "none.csv", *words).exit_code == 2
    drain_all(3.0)
    text = Path("log.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    requests = [each for each in records if each.get("action") == "http_request"]
    assert requests and all(
        {"method", "url", "status", "request_id", "took_ms"} <= each.keys() for each in requests
    )
    assert records[-1]["level"] == "error" and "none.csv" in records[-1]["message"]
    assert "X-Auth-Token" not in text and '"password"' not in text


def test_a_log_file_that_cannot_be_opened_starts_nothing(batchexport: Callable[..., Result]) -> None:
    make(Path("a.state"))
    for path in ("no/such/folder/log", "a.state"):
        result = batchexport("runs", ".", "--log-file", path)
        assert result.exit_code == 2 and result.stdout == ""
        assert f"error: --log-file: cannot write to {path}: " in result.stderr

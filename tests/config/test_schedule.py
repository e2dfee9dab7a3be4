from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batchexport.config.jobfile import read_job_file
from batchexport.config.retention import Retention
from batchexport.config.schedule import OnUnfinished, ScheduleConfig
from batchexport.errors import ConfigError
from batchexport.scheduling.cron import Schedule
from batchexport.scheduling.window import DateRange, Window

BERLIN = ZoneInfo("Europe/Berlin")
WINDOW = '[window]\nhours = "22:00-06:00"\ntime_zone = "Europe/Berlin"\n'


def nights(tmp_path: Path, text: str, *, job: str = "") -> ScheduleConfig:
    path = tmp_path / "job.toml"
    path.write_text(f'[job]\nlist = "a.csv"\n{job}\n{text}', encoding="utf-8")
    return read_job_file(path).nights


def problem(tmp_path: Path, text: str, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        nights(tmp_path, text, **more)
    (found,) = str(caught.value).splitlines()[1:]
    return found.strip()


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
    [window]
    hours = "22:15 - 6:00"
    time_zone = "Europe/Berlin"
    days = "fri-mon, wed"
    blackout = ["2026-12-24..2027-01-01", 2027-05-01, "2027-05-02"]
    grace = "30m"
    [schedule]
    cron = "0  23 * * *"
    time_zone = "UTC"
    """
    job = 'state_dir = "nights"\nkeep = 3\non_unfinished = "skip"'
    assert nights(tmp_path, text, job=job) == ScheduleConfig(
        state_dir=tmp_path / "nights",
        keep=3,
        on_unfinished=OnUnfinished.SKIP,
        window=Window(
            opens_min=22 * 60 + 15,
            closes_min=360,
            zone=BERLIN,
            days=frozenset({4, 5, 6, 0, 2}),
            blackout=(
                DateRange(first=date(2026, 12, 24), last=date(2027, 1, 1)),
                DateRange(first=date(2027, 5, 1), last=date(2027, 5, 1)),
                DateRange(first=date(2027, 5, 2), last=date(2027, 5, 2)),
            ),
            grace_s=1800.0,
        ),
        schedule=Schedule(cron="0 23 * * *", zone=ZoneInfo("UTC")),
    )


def test_images_are_kept_as_many_as_asked(tmp_path: Path) -> None:
    text = "[images]\nkeep = 3"
    kept = Retention(keep_last=3)
    assert nights(tmp_path, text, job="state_dir = 'n'").retention == kept
    assert nights(tmp_path, text, job="state_dir = 'n'\nkeep = 4").retention == kept
    assert nights(tmp_path, text.replace("keep", "keep_last"), job="state_dir = 'n'").retention == kept


def test_images_are_kept_by_days_weeks_and_months_of_the_jobs_zone(tmp_path: Path) -> None:
    text = """
        [images]
        keep_daily = 7
        keep_weekly = 4
        keep_monthly = 12
        keep_within = "30d"
        """
    zoned = nights(tmp_path, WINDOW + text, job="state_dir = 'n'").retention
    assert zoned == Retention(
        keep_daily=7, keep_weekly=4, keep_monthly=12, keep_within_s=30 * 86_400.0, zone=BERLIN
    )
    assert zoned.reach_days == 12 * 31
    told = problem(tmp_path, text, job="state_dir = 'n'\nkeep = 372")
    assert "[images] keep_daily: reaches 372 nights back; [job] keep must be more" in told


def test_two_words_for_one_rule_are_refused(tmp_path: Path) -> None:
    text = "[images]\nkeep = 3\nkeep_last = 4"
    told = problem(tmp_path, text, job="state_dir = 'n'")
    assert told == "[images] keep: is an alias of keep_last; give only one of them"


def test_without_a_word_on_nights_there_are_none(tmp_path: Path) -> None:
    assert nights(tmp_path, "") == ScheduleConfig()


def test_a_window_alone_starts_at_its_opening(tmp_path: Path) -> None:
    assert nights(tmp_path, WINDOW).schedule == Schedule(cron="0 22 * * *", zone=BERLIN)


def test_a_schedule_takes_the_time_zone_of_the_window(tmp_path: Path) -> None:
    assert nights(tmp_path, f'{WINDOW}[schedule]\ncron = "0 23 * * *"').schedule.zone == BERLIN


def test_a_schedule_without_a_window_needs_a_time_zone(tmp_path: Path) -> None:
    assert problem(tmp_path, '[schedule]\ncron = "0 23 * * *"') == "[schedule] time_zone: missing"
    utc = nights(tmp_path, '[schedule]\ncron = "0 23 * * *"\ntime_zone = "UTC"')
    assert (utc.window, utc.schedule.cron) == (None, "0 23 * * *")


def test_a_whole_day_ends_at_24(tmp_path: Path) -> None:
    window = nights(tmp_path, '[window]\nhours = "0:00-24:00"\ntime_zone = "UTC"').window
    assert (window.opens_min, window.closes_min) == (0, 0)


def test_days_may_be_an_array(tmp_path: Path) -> None:
    assert nights(tmp_path, f'{WINDOW}days = ["mon", "Sat-Sun"]').window.days == {0, 5, 6}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('hours = "22-6"', '[window] hours: "22-6" is not a time range; write it as 22:00-06:00'),
        ('hours = "24:00-06:00"', '[window] hours: "24:00-06:00" is not a time range'),
        ('hours = "22:00-24:30"', '[window] hours: "22:00-24:30" is not a time range'),
        ('hours = "22:70-06:00"', '[window] hours: "22:70-06:00" is not a time range'),
        ("hours = 22", "[window] hours: must be a text in quotes"),
        ('time_zone = "Mars/Base"', '[window] time_zone: "Mars/Base" is not a time zone'),
        ('time_zone = "../etc"', '[window] time_zone: "../etc" is not a time zone'),
        ('time_zone = "Europe"', '[window] time_zone: "Europe" is not a time zone'),
        ('days = "mon-fun"', '[window] days: "mon-fun" is not a weekday'),
        ("days = []", "[window] days: is empty"),
        ("days = [1]", "[window] days: must be a text in quotes"),
        ('blackout = "2027-01-01"', "[window] blackout: must be an array of days"),
        ('blackout = ["2027-02-30"]', '[window] blackout: "2027-02-30" is not a date'),
        ('blackout = ["2027-02-03..2027-02-01"]', "ends before it begins"),
        ("blackout = [2027-01-01T00:00:00]", "[window] blackout: must be a text in quotes"),
        ('grace = "25h"', "[window] grace: is more than a day"),
        ("grace = true", "[window] grace: is true or false"),
        ("graze = 5", "[window] graze: unknown key; did you mean grace?"),
    ],
)
def test_a_wrong_value_of_the_window_is_named(tmp_path: Path, line: str, words: str) -> None:
    key = line.split()[0]
    good = {"hours": '"22:00-06:00"', "time_zone": '"UTC"'}
    rest = "\n".join(f"{name} = {value}" for name, value in good.items() if name != key)
    assert words in problem(tmp_path, f"[window]\n{rest}\n{line}")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("keep = 0\nstate_dir = 'n'", "[job] keep: is 0; it must be 1 or more"),
        ("keep = 3", "[job] keep: applies to one state file per run; set state_dir as well"),
        ("on_unfinished = 'skip'", "[job] on_unfinished: applies to one state file per run"),
        ("[images]\nkeep = 3", "[images] keep: needs one state file per run"),
        ("state_dir = 'n'\n[images]\nkeep = 0", "[images] keep: is 0; it must be 1 or more"),
        (
            "state_dir = 'n'\nkeep = 3\n[images]\nkeep = 3",
            "[images] keep: reaches 3 nights back; [job] keep must be more",
        ),
        ("on_unfinished = 'ask'\nstate_dir = 'n'", '"ask" is not known; allowed: resume, skip, abandon'),
        ("on_unfinished = 1\nstate_dir = 'n'", '"1" is not known'),
        ("state = 'a'\nstate_dir = 'n'", "[job] state: conflicts with state_dir"),
    ],
)
def test_a_wrong_value_of_the_job_is_named(tmp_path: Path, job: str, words: str) -> None:
    assert words in problem(tmp_path, "", job=job)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[window]", {"[window] hours: missing", "[window] time_zone: missing"}),
        ("[schedule]", {"[schedule] cron: missing", "[schedule] time_zone: missing"}),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, words: set[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        nights(tmp_path, text)
    assert {line.strip() for line in str(caught.value).splitlines()[1:]} == words


def test_a_wrong_cron_expression_is_named(tmp_path: Path) -> None:
    assert '[schedule] cron: "0 25 * * *" is no schedule: Bad hour' in problem(
        tmp_path, f'{WINDOW}[schedule]\ncron = "0 25 * * *"'
    )

import shlex
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from batchexport.errors import ConfigError
from batchexport.scheduling.cron import Schedule, starts
from batchexport.scheduling.crontab import crontab, host_times
from batchexport.scheduling.unit_spec import UnitSpec

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
YEAR_S = 365 * 86_400


def order(path: str = "/jobs/nightly.toml", cron: str = "0 22 * * *") -> UnitSpec:
    schedule = Schedule(cron=cron, zone=BERLIN)
    return UnitSpec(job_path=Path(path), schedule=schedule, window=None, program=("batchexport",))


def test_on_a_host_in_the_same_zone_the_line_is_the_schedule() -> None:
    *comments, line = crontab(order(), host_zone=BERLIN, now=NOW).splitlines()
    assert (
        line
        == "0 22 * * * cd /jobs && flock -n /jobs/nightly.toml batchexport run --quiet /jobs/nightly.toml"
    )
    assert all(comment.startswith("# ") for comment in comments)
    assert not any("CRON_TZ" in comment for comment in comments)


def test_elsewhere_every_hour_of_the_year_is_named() -> None:
    assert host_times(order().schedule, ZoneInfo("UTC"), NOW) == ["0 20,21 * * *"]
    assert host_times(order().schedule, ZoneInfo("Asia/Kolkata"), NOW) == ["30 1,2 * * *"]


@pytest.mark.parametrize("cron", ["0 22 * * mon-fri", "*/30 1-3 * * 6", "30 2 * * *", "0 23 * * 0,7"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_no_start_of_the_year_is_missed(cron: str, zone: str) -> None:
    schedule, host = Schedule(cron=cron, zone=BERLIN), ZoneInfo(zone)
    wanted = {at for at in islice(starts(schedule, NOW), 3000) if at < NOW + YEAR_S}
    found = set()
    for line in host_times(schedule, host, NOW):
        for at in starts(Schedule(cron=line, zone=host), NOW - 1):
            if at >= NOW + YEAR_S:
                break
            found.add(at)
    # A time that the host's clock skips is begun at the next that it has: an hour later at most.
    missed = [at for at in wanted if not any(at <= other <= at + 3600 for other in found)]
    assert missed == []


def test_days_of_the_month_are_not_those_of_another_place() -> None:
    with pytest.raises(ConfigError, match="names days of the month in Europe/Berlin"):
        crontab(order(cron="0 22 1 * *"), host_zone=ZoneInfo("UTC"), now=NOW)
    assert "0 22 1 * * cd /jobs && flock" in crontab(order(cron="0 22 1 * *"), host_zone=BERLIN, now=NOW)


def test_what_cron_and_the_shell_would_read_otherwise_is_escaped() -> None:
    path = "/jobs/50 % off's.toml"
    line = crontab(order(path=path), host_zone=BERLIN, now=NOW).splitlines()[-1]
    assert "%" not in line.replace(r"\%", "")
    command = line.split(maxsplit=5)[5].replace(r"\%", "%")
    assert shlex.split(command)[-1] == path

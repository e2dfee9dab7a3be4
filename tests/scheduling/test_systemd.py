import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batchexport.errors import ConfigError
from batchexport.scheduling.cron import Schedule, starts
from batchexport.scheduling.systemd import calendar_events, service, timer
from batchexport.scheduling.unit_spec import UnitSpec

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, of the Debian package systemd"
)
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2027, 5, 1, 12, tzinfo=UTC)


def order(
    path: str = "/jobs/nightly.toml",
    cron: str = "0 22 * * mon-fri",
    program: tuple[str, ...] = (sys.executable, "-m", "batchexport"),
    **more: Any,
) -> UnitSpec:
    schedule = Schedule(cron=cron, zone=BERLIN)
    return UnitSpec(job_path=Path(path), schedule=schedule, window=None, program=program, **more)


def verified(folder: Path, asked: UnitSpec) -> subprocess.CompletedProcess[str]:
    """What systemd says about the units of a spec."""
    units = {f"{asked.name}.service": service(asked), f"{asked.name}.timer": timer(asked)}
    for name, text in units.items():
        (folder / name).write_text(text)
    paths = [str(folder / name) for name in units]
    return subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)


@needs_systemd
@pytest.mark.parametrize("name", ["nightly.toml", "50 % of all $HOME \"x\" 'y'.toml", "Jäger & Söhne.toml"])
def test_the_units_pass_verify(tmp_path: Path, name: str) -> None:
    asked = order(path=str(tmp_path / name))
    found = verified(tmp_path, asked)
    ours = [line for line in found.stderr.splitlines() if asked.name in line]
    assert (found.returncode, ours) == (0, [])


@needs_systemd
def test_verify_is_able_to_complain(tmp_path: Path) -> None:
    assert verified(tmp_path, order(program=("/no/such/program",))).returncode != 0


@needs_systemd
@pytest.mark.parametrize(
    "cron",
    ["0 22 * * *", "*/20 1-3 * * mon-fri", "15 4 1,15 * *", "0 0 * jun,dec 7", "30 23 * * */3", "5 * * * *"],
)
def test_calendar_events_are_the_same_starts(cron: str) -> None:
    schedule = Schedule(cron=cron, zone=BERLIN)
    (event,) = calendar_events(schedule)
    words = [
        "systemd-analyze",
        "calendar",
        "--iterations=6",
        f"--base-time={NOON:%Y-%m-%d %H:%M:%S UTC}",
        event,
    ]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"})
    seen = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d):00 UTC", told.stdout)
    expected = [datetime.fromtimestamp(at, UTC) for at in islice(starts(schedule, NOON.timestamp()), 6)]
    assert seen == [f"{each:%Y-%m-%d %H:%M}" for each in expected]


def test_a_day_that_is_named_either_way_takes_two_events() -> None:
    assert calendar_events(Schedule(cron="0 22 1 * fri", zone=BERLIN)) == [
        "*-*-01 22:00:00 Europe/Berlin",
        "Fri *-*-* 22:00:00 Europe/Berlin",
    ]


def test_what_systemd_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigError, match="supports no last day"):
        timer(order(cron="0 22 L * *"))


def test_the_service_counts_a_closed_window_as_success_and_holds_no_secret() -> None:
    text = service(order())
    assert "SuccessExitStatus=75\n" in text
    assert "Type=oneshot\n" in text
    assert "PASSWORD" not in text.upper()
    assert "\nEnvironment=" not in text


@pytest.mark.parametrize(("stops", "stop"), [(False, "180"), (True, "infinity")])
def test_a_drain_that_starts_servers_is_not_killed(stops: bool, stop: str) -> None:
    assert f"TimeoutStopSec={stop}\n" in service(order(stops_servers=stops))


@needs_systemd
def test_the_service_is_confined_and_can_write_what_it_has_to(tmp_path: Path) -> None:
    asked = order(path=str(tmp_path / "nightly.toml"), writes_to=(Path("/srv/my reports"),))
    path = tmp_path / f"{asked.name}.service"
    path.write_text(service(asked))
    words = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", str(path)]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout.splitlines()[-1]
    text = path.read_text()
    assert f"ReadWritePaths=-{tmp_path}\n" in text
    assert 'ReadWritePaths="-/srv/my reports"\n' in text
    assert "LimitCORE=0\n" in text


def test_the_settings_of_the_cloud_are_those_of_whoever_emitted() -> None:
    text = service(order(clouds_path=Path("/etc/openstack/my clouds.yaml")))
    assert 'Environment="OS_CLIENT_CONFIG_FILE=/etc/openstack/my clouds.yaml"\n' in text

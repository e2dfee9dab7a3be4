import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import kubernetes_validate
import pytest
import yaml

from batchexport.errors import ConfigError
from batchexport.scheduling.cron import Schedule
from batchexport.scheduling.kubernetes import cron_job
from batchexport.scheduling.unit_spec import UnitSpec
from batchexport.scheduling.window import Window

BERLIN = ZoneInfo("Europe/Berlin")
WINDOW = Window(opens_min=22 * 60, closes_min=6 * 60, zone=BERLIN)


def manifest(
    path: str = "/jobs/nightly.toml", cron: str = "0 22 * * *", window: Window | None = WINDOW, **more: Any
) -> Any:
    schedule = Schedule(cron=cron, zone=BERLIN)
    spec = UnitSpec(job_path=Path(path), schedule=schedule, window=window, program=("batchexport",), **more)
    return yaml.safe_load(cron_job(spec, image="registry/batchexport:1"))


@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("path", ["/jobs/nightly.toml", '/my jobs/50 %: "Jäger".toml'])
def test_the_manifest_follows_the_published_schema(path: str, version: str) -> None:
    kubernetes_validate.validate(manifest(path), version, strict=True)


def test_the_schema_is_able_to_complain() -> None:
    wrong = manifest()
    wrong["spec"]["timezone"] = wrong["spec"].pop("timeZone")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


def test_a_night_never_overlaps_and_keeps_its_own_time() -> None:
    spec = manifest()["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["schedule"], spec["timeZone"]) == ("0 22 * * *", "Europe/Berlin")
    assert spec["startingDeadlineSeconds"] == 8 * 3600


@pytest.mark.parametrize(
    ("window", "seconds"),
    [(None, 3600), (Window(opens_min=0, closes_min=0, zone=BERLIN), 86_400)],
)
def test_a_start_may_come_until_the_window_closes(window: Window | None, seconds: int) -> None:
    assert manifest(window=window)["spec"]["startingDeadlineSeconds"] == seconds


def test_sunday_is_0() -> None:
    assert manifest(cron="0 22 * * 5-7")["spec"]["schedule"] == "0 22 * * 0,5,6"
    assert manifest(cron="0 22 * * mon-fri")["spec"]["schedule"] == "0 22 * * mon-fri"


def test_what_kubernetes_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigError, match="supports no last day"):
        manifest(cron="0 22 * * 5#2")


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("nightly.toml", r"batchexport-nightly"),
        ("a-b.toml", r"batchexport-a-b"),
        ("Nightly Jobs.toml", r"batchexport-nightly-jobs-[0-9a-f]{6}"),
        ("Jäger.toml", r"batchexport-jager-[0-9a-f]{6}"),
        ("夜.toml", r"batchexport-job-[0-9a-f]{6}"),
    ],
)
def test_names_are_what_kubernetes_takes(file_name: str, name: str) -> None:
    assert re.fullmatch(name, manifest(f"/jobs/{file_name}")["metadata"]["name"])


def test_no_two_job_files_have_one_name() -> None:
    stems = ["a-b", "a b", "a_b", "A-b", "夜", "日", "jäger", "jager", "x" * 60, "x" * 61]
    assert len({manifest(f"/jobs/{stem}.toml")["metadata"]["name"] for stem in stems}) == len(stems)


def test_a_path_beyond_the_basic_plane_stays_what_it_is() -> None:
    container = containers(manifest("/\U0001f4be/n.toml"))[0]
    assert container["args"] == ["run", "/\U0001f4be/n.toml"]


def containers(found: dict[str, Any]) -> Any:
    return pod(found)["containers"]


def pod(found: dict[str, Any]) -> Any:
    return found["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_a_pod_that_meets_the_lease_of_a_killed_one_is_started_again() -> None:
    (rule,) = manifest()["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert 4 not in rule["onExitCodes"]["values"]


@pytest.mark.parametrize(("stops", "grace_s"), [(False, 180), (True, 86_400)])
def test_a_drain_that_starts_servers_has_its_time(stops: bool, grace_s: int) -> None:
    assert pod(manifest(stops_servers=stops))["terminationGracePeriodSeconds"] == grace_s


def test_long_names_are_cut() -> None:
    assert len(manifest(f"/jobs/{'long-' * 20}.toml")["metadata"]["name"]) <= 52

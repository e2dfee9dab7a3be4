from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.app.run_config import RunConfig
from batchexport.cli.flags import config_of_run
from batchexport.cli.run import run
from batchexport.config import CloudSettings, InUse, Limits, MaxFailures, ServerStops, Settings
from batchexport.dialect import EVS
from batchexport.errors import ConfigError
from batchexport.model import ImageOptions

JOB_FILE = """
[job]
list = "march.csv"
[cloud]
name = "from-file"
region = "from-file"
[limits]
retries = 7
max_exports = 7
"""


@pytest.fixture(autouse=True)
def nothing_said_of_signing_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHEXPORT_SIGN_IN_TIMEOUT")


def order(*words: Any, environment: dict[str, str] | None = None) -> RunConfig:
    flags = run.make_context("run", [str(word) for word in words]).params
    return config_of_run(flags.pop("source"), flags, environment or {})


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "march.toml"
    path.write_text(JOB_FILE)
    return path


def test_where_nobody_says_anything_the_defaults_stand() -> None:
    assert order("list.csv").settings == Settings()
    assert order("list.csv").access == CloudSettings()


def test_every_flag_finds_its_setting() -> None:
    words = (
        "--requests-per-second 0 --max-exports 2 -j 3 --poll-interval 5m --retries 0 --max-failures 5% "
        "--settle-time 1.5 --in-use force --name-template {volume_id} --disk-format vhd "
        "--container-format bare --os-type linux --no-protected --no-wait --hard-stop --max-servers-down 2 "
        "--stop-timeout 1m --yes"
    )
    assert order("list.csv", *words.split()).settings == Settings(
        limits=Limits(
            requests_per_second=0.0,
            max_exports=2,
            concurrency=3,
            poll_interval_s=300.0,
            retries=0,
            max_failures=MaxFailures(percent=5.0),
            settle_s=1.5,
        ),
        image=ImageOptions(disk_format="vhd", container_format="bare", os_type="linux", protected=False),
        name_template="{volume_id}",
        in_use=InUse.FORCE,
        server_stops=ServerStops(hard_stop=True, max_down=2, stop_timeout_s=60.0, agreed=True),
        wait=False,
    )


def test_sign_in_flags_go_by_the_names_of_openstacksdk() -> None:
    words = "--os-cloud prod --os-auth-url https://a --os-application-credential-secret s3cret --insecure"
    access = order("list.csv", *words.split()).access
    assert access == CloudSettings(
        cloud="prod",
        options={"auth_url": "https://a", "application_credential_secret": "s3cret", "insecure": "true"},
    )


def test_a_flag_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHEXPORT_RETRIES", "8")
    assert order("list.csv", "--retries", 9).settings.limits.retries == 9


def test_the_variable_wins_over_the_job_file(monkeypatch: pytest.MonkeyPatch, job_file: Path) -> None:
    monkeypatch.setenv("BATCHEXPORT_RETRIES", "8")
    limits = order(job_file).settings.limits
    assert (limits.retries, limits.max_exports) == (8, 7)


def test_the_job_file_wins_over_the_default(job_file: Path) -> None:
    assert order(job_file).settings.limits.retries == 7


@pytest.mark.parametrize(
    ("words", "environment", "cloud"),
    [
        ([], {}, "from-file"),
        ([], {"OS_CLOUD": "from-variable"}, "from-variable"),
        (["--os-cloud", "from-flag"], {"OS_CLOUD": "from-variable"}, "from-flag"),
    ],
)
def test_the_cloud_follows_the_same_order(
    job_file: Path, words: list[str], environment: dict[str, str], cloud: str
) -> None:
    assert order(job_file, *words, environment=environment).access.cloud == cloud


@pytest.mark.parametrize(("environment", "region"), [({}, "from-file"), ({"OS_REGION_NAME": "x"}, "x")])
def test_the_region_follows_the_same_order(job_file: Path, environment: dict[str, str], region: str) -> None:
    assert order(job_file, environment=environment).access.options == {"region_name": region}


def test_without_a_job_file_the_sign_in_variables_are_left_to_openstacksdk() -> None:
    access = order("list.csv", environment={"OS_CLOUD": "prod", "OS_REGION_NAME": "x"}).access
    assert access == CloudSettings()


def test_the_state_file_is_called_after_the_list_and_made_beside_it() -> None:
    assert order("lists/march.2026.csv").state_path == Path("lists/march.2026.state")


def test_the_list_of_a_job_file_names_the_state_file_too(job_file: Path) -> None:
    assert order(job_file).state_path == job_file.parent / "march.state"
    assert order(job_file).source == str(job_file.parent / "march.csv")


def test_the_state_file_of_a_job_file_wins_over_the_lists_name(job_file: Path) -> None:
    job_file.write_text('[job]\nlist = "a.csv"\nstate = "b.state"')
    assert order(job_file).state_path == job_file.parent / "b.state"
    assert order(job_file, "--state", "c.state").state_path == Path("c.state")


def test_a_list_from_stdin_needs_a_state_file() -> None:
    assert order("-", "--state", "x.state").state_path == Path("x.state")
    with pytest.raises(ConfigError, match="--state is missing"):
        _ = order("-").state_path


def test_the_dialect_of_a_list_is_none_until_it_is_said() -> None:
    assert order("list.csv").dialect is None
    assert order("list.csv", "--dialect", "evs").dialect is EVS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dialect cinder --disk-format zvhd", "disk format zvhd is not supported by cinder; allowed: raw"),
        ("--dialect cinder --os-type linux", "cinder takes none"),
        ("--dialect evs --visibility private", "evs takes neither"),
        ("--dialect evs --no-protected", "evs takes neither"),
    ],
)
def test_image_settings_that_the_dialect_has_not_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        order("list.csv", *words.split())


@pytest.mark.parametrize(
    "words",
    [
        "--requests-per-second -1",
        "--requests-per-second nan",
        "--requests-per-second fast",
        "--max-exports 0",
        "--concurrency 0",
        "--poll-interval 0",
        "--poll-interval soon",
        "--retries -1",
        "--max-failures 0%",
        "--in-doubt-timeout -1",
        "--in-use ask",
        "--disk-format iso",
        "--dialect nova",
    ],
)
def test_a_value_out_of_range_is_told_with_its_option(batchexport: Callable[..., Result], words: str) -> None:
    result = batchexport("run", "list.csv", *words.split())
    assert result.exit_code == 2
    assert words.split()[0] in result.stderr
    assert result.stdout == ""


def test_a_wrong_variable_is_told_with_its_option(batchexport: Callable[..., Result]) -> None:
    result = batchexport("run", "list.csv", env={"BATCHEXPORT_MAX_EXPORTS": "many"})
    assert result.exit_code == 2
    assert "--max-exports" in result.stderr

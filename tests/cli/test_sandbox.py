import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from batchexport.app.sandbox import (
    MARK,
    listed_volumes,
    made_up_volumes,
    sandbox_settings,
    write_clouds_yaml,
)
from batchexport.errors import ConfigError, JobListError
from batchexport.sandbox import Faults, Profile, SandboxSettings
from tests.cli.lists import quick_ids, write_list

NOTHING = {
    "source": None,
    "volumes": None,
    "time_scale": None,
    "journal": None,
    "rate": None,
    "error_share": None,
    "drop_share": None,
    "fail_share": None,
    "slow_share": None,
    "token_life_s": None,
    "seed": None,
}


def test_without_flags_the_sandbox_is_as_it_comes() -> None:
    assert sandbox_settings(NOTHING) == SandboxSettings()


def test_every_flag_finds_its_setting() -> None:
    said = {
        "profile": "evs",
        "time_scale": 0.0,
        "journal": Path("j"),
        "rate": 3.0,
        "error_share": 0.1,
        "drop_share": 0.2,
        "fail_share": 0.3,
        "slow_share": 0.4,
        "token_life_s": 60.0,
        "seed": 5,
    }
    assert sandbox_settings(NOTHING | said) == SandboxSettings(
        profile=Profile.EVS,
        time_scale=0.0,
        journal=Path("j"),
        rate=3.0,
        token_life_s=60.0,
        faults=Faults(error_share=0.1, drop_share=0.2, fail_share=0.3, slow_share=0.4, seed=5),
    )


def test_the_volumes_of_a_list_exist_and_no_others() -> None:
    write_list(Path("v.csv"), 2, header="volume_id,image_name", row="{},web")
    settings = sandbox_settings(NOTHING | {"source": "v.csv"})
    assert not settings.synthetic_volumes
    assert [(volume.volume_id, volume.name) for volume in settings.volumes] == [
        (volume_id, "web") for volume_id in quick_ids(2)
    ]


def test_a_broken_list_starts_no_sandbox() -> None:
    Path("v.csv").write_text("volume_id\nvol-7\n")
    with pytest.raises(JobListError) as caught:
        listed_volumes("v.csv")
    assert len(caught.value.problems) == 1


def test_made_up_volumes_are_the_same_each_time() -> None:
    first = made_up_volumes(3)
    assert first == made_up_volumes(3)
    assert [volume.name for volume in first] == ["volume-0001", "volume-0002", "volume-0003"]
    assert sandbox_settings(NOTHING | {"volumes": 3}).volumes == first


def test_a_list_and_a_number_of_volumes_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        sandbox_settings(NOTHING | {"source": "v.csv", "volumes": 3})


def test_servers_hold_the_first_volumes_and_two_of_them_share_one() -> None:
    settings = sandbox_settings(NOTHING | {"volumes": 5, "servers": 2, "ignore_force": False})
    ids = [volume.volume_id for volume in settings.volumes]
    assert [(server.name, server.volume_ids) for server in settings.servers] == [
        ("server-0001", (ids[0], ids[1], ids[2])),
        ("server-0002", (ids[2], ids[3])),
    ]
    assert settings.force_upload
    assert settings.servers == sandbox_settings(NOTHING | {"volumes": 5, "servers": 2}).servers


def test_a_single_server_shares_with_nobody_and_force_can_be_ignored() -> None:
    settings = sandbox_settings(NOTHING | {"volumes": 1, "servers": 1, "ignore_force": True})
    assert [server.volume_ids for server in settings.servers] == [(settings.volumes[0].volume_id,)]
    assert not settings.force_upload


def test_servers_without_volumes_are_told_what_to_give() -> None:
    with pytest.raises(ConfigError, match="3 servers cannot hold 2 volumes") as caught:
        sandbox_settings(NOTHING | {"volumes": 2, "servers": 3})
    assert "--list or --volumes" in (caught.value.hint or "")


def test_somebodys_own_clouds_yaml_is_never_written_over() -> None:
    path = Path("clouds.yaml")
    path.write_text("clouds: {prod: {}}\n")
    with pytest.raises(ConfigError, match="was not made by the sandbox"):
        write_clouds_yaml(path, "http://127.0.0.1:1")
    assert path.read_text() == "clouds: {prod: {}}\n"


def test_a_clouds_yaml_of_the_sandbox_is_written_over() -> None:
    path = Path("clouds.yaml")
    write_clouds_yaml(path, "http://127.0.0.1:1")
    write_clouds_yaml(path, "http://127.0.0.1:2")
    assert path.read_text().startswith(MARK)
    assert yaml.safe_load(path.read_text())["clouds"]["sandbox"]["auth"]["auth_url"].startswith(
        "http://127.0.0.1:2/"
    )


def test_a_clouds_yaml_that_cannot_be_written_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot write no-folder"):
        write_clouds_yaml(Path("no-folder/clouds.yaml"), "http://127.0.0.1:1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_prints_its_clouds_yaml_and_ends_cleanly(number: signal.Signals) -> None:
    words = [sys.executable, "-m", "batchexport", "sandbox"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        line = child.stderr.readline()
        child.send_signal(number)
        stdout, stderr = child.communicate(timeout=20)
    assert child.returncode == 0
    assert line.startswith("the sandbox listens at http://127.0.0.1:")
    assert f"{number.name}: the sandbox stops" in stderr
    url = line.split()[4].rstrip(";")
    assert yaml.safe_load(stdout)["clouds"]["sandbox"]["auth"]["auth_url"].startswith(url)


def test_a_run_works_on_a_sandbox_of_another_process(batchexport: Callable[..., Result]) -> None:
    volumes = write_list(Path("v.csv"), 2)
    words = ["sandbox", "--list", "v.csv", "--time-scale", "0", "--write-clouds-yaml", "clouds.yaml", "-q"]
    program = [sys.executable, "-m", "batchexport", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        url = child.stdout.readline().strip()
        try:
            result = batchexport(
                "run",
                volumes,
                "--os-cloud",
                "sandbox",
                "--poll-interval",
                "0.1",
                env={"OS_CLIENT_CONFIG_FILE": "clouds.yaml"},
            )
        finally:
            child.terminate()
            child.communicate(timeout=20)
    assert url in Path("clouds.yaml").read_text()
    assert result.exit_code == 0, result.output
    assert not Path("v.state.sandbox").exists()


@pytest.mark.parametrize("quiet", [False, True])
def test_the_sandbox_serves_until_a_signal(batchexport: Callable[..., Result], quiet: Any) -> None:
    clouds = Path("clouds.yaml").absolute()
    signaller = threading.Thread(target=_signal_once_written, args=(clouds,))
    signaller.start()
    result = batchexport("sandbox", "--volumes", 2, "--write-clouds-yaml", clouds, *(["-q"] if quiet else []))
    signaller.join()
    assert result.exit_code == 0
    assert result.stdout.startswith("http://127.0.0.1:")
    assert ("Ctrl-C ends it" in result.stderr) is not quiet


def _signal_once_written(path: Path) -> None:
    # The file is written while the signal is waited for; before that it would end this very process.
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

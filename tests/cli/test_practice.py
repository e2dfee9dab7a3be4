import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchexport.app import embedded_sandbox
from batchexport.config import CloudSettings
from batchexport.errors import ConfigError
from tests.cli.clouds import define
from tests.cli.served import IDS, served, volumes


def test_a_run_on_another_cloud_wants_no_practice_cloud() -> None:
    assert not embedded_sandbox.is_wanted({"prod", None})


def test_the_name_sandbox_wants_the_practice_cloud() -> None:
    assert embedded_sandbox.is_wanted({"sandbox"})


def test_a_cloud_of_that_name_in_clouds_yaml_comes_first() -> None:
    define("clouds: {sandbox: {auth: {auth_url: http://127.0.0.1:1/v3}}}")
    assert not embedded_sandbox.is_wanted({"sandbox"})


def test_practice_and_real_clouds_do_not_mix() -> None:
    with pytest.raises(ConfigError, match="'sandbox' and for prod, the default cloud"):
        embedded_sandbox.is_wanted({"sandbox", "prod", None})


def test_a_clouds_yaml_that_openstacksdk_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_USERNAME", "somebody")
    define("clouds: {envvars: {auth: {}}}")
    with pytest.raises(ConfigError, match=r"clouds\.yaml cannot be used"):
        embedded_sandbox.is_wanted({"sandbox"})


def test_the_journal_stands_beside_the_state_file() -> None:
    assert embedded_sandbox.journal_path(Path("a/b.state")) == Path("a/b.state.sandbox")


async def test_however_often_it_is_started_there_is_one_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    access = CloudSettings(cloud="sandbox")
    async with embedded_sandbox.EmbeddedSandbox(tmp_path / "journal") as cloud:
        one, other = await asyncio.gather(cloud.access_to(access), cloud.access_to(access))
        assert one == other
        assert one.clouds_file is not None and "127.0.0.1" in one.clouds_file.read_text()
        assert os.environ["NO_PROXY"] == "intranet,127.0.0.1"
    assert os.environ["NO_PROXY"] == "intranet"
    assert "no_proxy" not in os.environ


async def test_two_sandboxes_in_one_process_are_two_clouds(tmp_path: Path) -> None:
    access = CloudSettings(cloud="sandbox")
    async with embedded_sandbox.EmbeddedSandbox(tmp_path / "b") as outer:
        async with embedded_sandbox.EmbeddedSandbox(tmp_path / "a") as inner:
            places = [(await each.access_to(access)).clouds_file for each in (outer, inner)]
            assert len({place.read_text() for place in places if place}) == 2
        assert "127.0.0.1" in os.environ["NO_PROXY"]


async def test_the_sandbox_goes_by_the_document_unless_told_otherwise(tmp_path: Path) -> None:
    async with embedded_sandbox.EmbeddedSandbox(tmp_path / "journal") as cloud:
        assert (await cloud.access_to(CloudSettings(cloud="sandbox"))).dialect == "evs"
        assert (await cloud.access_to(CloudSettings(dialect="cinder"))).dialect == "cinder"


def test_the_practice_cloud_has_volumes_to_discover(batchexport: Callable[..., Result]) -> None:
    found = batchexport("discover", "--os-cloud", "sandbox", "-o", "v.csv")
    assert found.exit_code == 0
    assert "12 volumes match, 12 rows written to v.csv" in found.stderr
    assert batchexport("plan", "v.csv", "--os-cloud", "sandbox").exit_code == 0


def test_a_rehearsal_never_reaches_the_cloud_that_variables_and_flags_describe(
    batchexport: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sourced openrc a run on the sandbox once signed in to the real cloud, and exported there."""
    Path("v.csv").write_text(f"volume_id\n{IDS[0]}\n")
    with served(*volumes()) as real:
        define("clouds: {}")
        for name, text in real.auth().items():
            monkeypatch.setenv(f"OS_{name.upper()}", text)
        monkeypatch.setenv("OS_ACCESS_KEY", "AK")
        monkeypatch.setenv("OS_SECRET_KEY", "SK")
        flags = (
            "--os-cloud",
            "sandbox",
            "--os-auth-url",
            real.auth()["auth_url"],
            "--os-username",
            "somebody",
        )
        run = batchexport("run", "v.csv", "--poll-interval", "0.1", env={"OS_CLOUD": "sandbox"})
        rerun = batchexport(
            "run", "v.csv", *flags, "--state", "other.state", "--again", "--poll-interval", "0.1"
        )
        assert (run.exit_code, rerun.exit_code) == (0, 0), run.stderr + rerun.stderr
        assert real.counts == {}


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_weather_is_refused_for_a_real_cloud(
    batchexport: Callable[..., Result], more: tuple[str, ...]
) -> None:
    """Whoever asks for weather means to rehearse: without the sandbox it must not export for real."""
    Path("v.csv").write_text(f"volume_id\n{IDS[0]}\n")
    with served(*volumes()) as real:
        refused = batchexport("run", "v.csv", "--weather", "storm", "--os-cloud", "served", *more)
        assert refused.exit_code == 2
        assert "--weather is for the sandbox, and the run asks for served" in refused.stderr
        assert real.counts == {}
        assert not Path("v.state").exists()

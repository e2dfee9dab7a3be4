"""Nothing is stopped that nobody agreed to."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from msgspec.structs import replace

from batchexport import intake
from batchexport.app.run import confirm_stops
from batchexport.cli.flags import config_of_run, settings_of_visit
from batchexport.config import InUse, ServerStops, Settings
from batchexport.errors import ConfigError
from batchexport.store import StateReader
from tests.cli.lists import write_list

STOP = Settings(in_use=InUse.STOP)
YES = ServerStops(agreed=True)
PATH = Path("list.state")


def prepared(count: int = 2, in_use: str | None = None) -> None:
    """A state file of so many rows; with a word of their own about volumes in use."""
    write_list(Path("list.csv"), count)
    if in_use is not None:
        header, *rows = Path("list.csv").read_text().splitlines()
        Path("list.csv").write_text("\n".join([f"{header},in_use", *(f"{row},{in_use}" for row in rows)]))
    intake.prepare("list.csv", PATH, Settings())


def ask(settings: Settings) -> bool:
    asyncio.run(confirm_stops(PATH, settings))
    with StateReader(PATH) as reader:
        return reader.run.may_stop


def test_a_run_that_stops_nothing_needs_no_consent() -> None:
    prepared()
    assert ask(Settings()) is False


def test_consent_is_asked_for_and_the_rows_are_counted() -> None:
    prepared()
    with pytest.raises(ConfigError, match=r"for 2 rows of list.csv, and nobody has consented") as caught:
        ask(STOP)
    assert "--yes" in (caught.value.hint or "")


def test_consent_is_kept_so_that_going_on_needs_none() -> None:
    prepared()
    assert ask(replace(STOP, server_stops=YES)) is True
    assert ask(STOP) is True
    settings, _ = settings_of_visit(PATH, {})
    assert settings.in_use is InUse.STOP
    other, _ = settings_of_visit(PATH, {"in_use": "skip"})
    assert other.in_use is InUse.SKIP


def test_consent_to_some_rows_is_none_to_all() -> None:
    prepared(in_use="stop")
    with pytest.raises(ConfigError):
        ask(Settings())
    assert ask(Settings(server_stops=YES)) is True
    assert ask(Settings()) is True
    with pytest.raises(ConfigError):
        ask(STOP)


def test_servers_that_nobody_waits_for_are_not_stopped() -> None:
    prepared()
    with pytest.raises(ConfigError, match="--no-wait"):
        ask(replace(STOP, wait=False, server_stops=YES))


def test_a_job_file_agrees_only_where_it_says_stop() -> None:
    write_list(Path("list.csv"), 1)
    Path("job.toml").write_text('[job]\nlist = "list.csv"\n[servers]\nin_use = "stop"\nstop_timeout = "5m"\n')
    settings = config_of_run("job.toml", {}, {}).settings
    assert settings.server_stops == ServerStops(agreed=True, stop_timeout_s=300.0)
    Path("job.toml").write_text('[job]\nlist = "list.csv"\n[servers]\nin_use = "skip"\n')
    assert not config_of_run("job.toml", {"in_use": "stop"}, {}).settings.server_stops.agreed


def test_a_run_without_consent_ends_before_it_signs_in(batchexport: Callable[..., Result]) -> None:
    write_list(Path("list.csv"), 3)
    result = batchexport("run", "list.csv", "--os-cloud", "nowhere", "--in-use", "stop")
    assert result.exit_code == 2
    assert "servers may be stopped for 3 rows" in result.stderr


def test_servers_are_shown_without_a_cloud(batchexport: Callable[..., Result]) -> None:
    prepared()
    result = batchexport("servers", PATH)
    assert (result.exit_code, result.stdout) == (0, "no server is stopped\n")
    assert batchexport("servers", PATH, "--start", "--os-cloud", "nowhere").exit_code == 0

"""Nothing is stopped that nobody agreed to."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from msgspec.structs import replace

from batchexport import intake
from batchexport.app.console import NullConsole
from batchexport.app.run import confirm_stops, warn_of_idle_options
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


class Said(NullConsole):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, *, notify: bool = False) -> None:
        self.warnings.append(text)


def warnings(settings: Settings) -> str:
    console = Said()
    warn_of_idle_options(PATH, settings, console)
    return "\n".join(console.warnings)


@pytest.mark.parametrize(
    ("in_use", "stops", "warned"),
    [
        (InUse.FAIL, ServerStops(hard_stop=True), "--hard-stop has no effect: no server is stopped"),
        (InUse.SNAPSHOT, ServerStops(max_down=3), "--max-servers-down has no effect"),
        (
            InUse.SKIP,
            ServerStops(max_down=1, stop_timeout_s=60.0),
            "--max-servers-down and --stop-timeout have",
        ),
        (InUse.STOP, ServerStops(hard_stop=True, agreed=True), ""),
        (InUse.FAIL, YES, ""),
    ],
)
def test_options_of_stops_are_not_silently_without_effect(
    in_use: InUse, stops: ServerStops, warned: str
) -> None:
    prepared()
    said = warnings(Settings(in_use=in_use, server_stops=stops))
    assert warned in said
    assert bool(said) == bool(warned)


def test_options_of_stops_have_an_effect_on_rows_that_say_stop() -> None:
    prepared(in_use="stop")
    assert not warnings(Settings(server_stops=ServerStops(hard_stop=True)))


def test_a_job_file_that_stops_nothing_says_so(batchexport: Callable[..., Result]) -> None:
    write_list(Path("list.csv"), 1)
    Path("job.toml").write_text('[job]\nlist = "list.csv"\n[servers]\nmax_down = 3\n')
    result = batchexport("run", "job.toml", "--os-cloud", "sandbox", "--requests-per-second", "0")
    assert result.exit_code == 0
    assert "--max-servers-down has no effect" in result.stderr


def test_servers_are_shown_without_a_cloud(batchexport: Callable[..., Result]) -> None:
    prepared()
    result = batchexport("servers", PATH)
    assert (result.exit_code, result.stdout) == (0, "no server is stopped\n")
    assert batchexport("servers", PATH, "--start", "--os-cloud", "nowhere").exit_code == 0

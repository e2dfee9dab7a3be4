"""Volumes in use that are copied for their export, from the command line, on a real HTTP server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from batchexport.sandbox import SandboxServer
from batchexport.sandbox.settings import Quotas
from batchexport.sandbox.state import DECODER
from batchexport.store import StateReader
from tests.cli.served import IDS, served, volumes
from tests.crash.copies import Copies, servers_stopped

A, B = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "ab")
SERVERS = (
    SandboxServer(server_id=A, name="web", volume_ids=IDS[:2]),
    SandboxServer(server_id=B, name="db", volume_ids=IDS[2:3]),
)
CLOUD = ("--os-cloud", "served", "--requests-per-second", "0")
COPY = ("--in-use", "snapshot")
RUN = (*CLOUD, "--poll-interval", "0.1", *COPY)


@pytest.fixture
def listed() -> str:
    Path("list.csv").write_text("\n".join(["volume_id", *IDS]) + "\n")
    return "list.csv"


def cloud(**settings: Any) -> Any:
    return served(*volumes(), **{"servers": SERVERS} | settings)


def test_a_plan_tells_what_is_made_and_whether_quotas_allow_it(
    batchexport: Callable[..., Result], listed: str
) -> None:
    with cloud(quotas=Quotas(snapshots=1, volumes=100, gigabytes=1000)):
        text = batchexport("plan", listed, *CLOUD, *COPY)
        told = json.loads(batchexport("plan", listed, *CLOUD, *COPY, "-f", "json").stdout)
    assert text.exit_code == 0, text.output
    made = "2 snapshots and 3 temporary volumes of 30 GiB would be made and deleted, 3 at once"
    assert f"{made}, for up to 50 GiB of quota" in text.stdout
    assert "the quotas have room for 2 of the largest at once: snapshots" in text.stdout
    assert "5 rows: 5 to export (3 by a copy)" in text.stdout
    copies = told["targets"][0]["copies"]
    assert (copies["snapshots"], copies["temporary_volumes"], copies["room_at_once"]) == (2, 3, 2)
    assert copies["quotas"]["snapshots"] == {"allowed": 1, "used": 0}


def test_a_plan_with_commands_counts_a_snapshot_for_each_copy(
    batchexport: Callable[..., Result], listed: str
) -> None:
    Path("night.toml").write_text(
        '[job]\nlist = "list.csv"\n[cloud]\nname = "served"\n[servers]\nin_use = "snapshot"\n'
        '[snapshot]\nbefore = "true"\n'
    )
    with cloud():
        result = batchexport("plan", "night.toml")
    made = "3 snapshots and 3 temporary volumes of 30 GiB would be made and deleted, 3 at once"
    assert f"{made}, for up to 60 GiB of quota" in result.stdout, result.output


def test_a_plan_that_no_quota_allows_ends_with_3(batchexport: Callable[..., Result], listed: str) -> None:
    with cloud(quotas=Quotas(gigabytes=65)):
        result = batchexport("plan", listed, *CLOUD, *COPY, "--max-temporary", "1")
    assert result.exit_code == 3
    assert "the quotas have no room for the copies of 2 volumes: gigabytes" in result.stdout


@pytest.mark.slow
def test_copies_are_exported_while_servers_run_and_nothing_is_left(
    batchexport: Callable[..., Result], listed: str
) -> None:
    journal = Path("cloud.journal")
    with cloud(time_scale=0.01, journal=journal):
        result = batchexport("run", listed, *RUN)
    assert result.exit_code == 0, result.output
    events = [DECODER.decode(line) for line in journal.read_bytes().splitlines()]
    copies = Copies.of(events)
    assert sorted(each.kind for each in copies.made.values()) == ["snapshot"] * 2 + ["volume"] * 3
    assert (list(copies.violations(named=())), servers_stopped(events)) == ([], [])
    with StateReader(Path("list.state")) as reader:
        rows = {job.volume_id: job for job in reader.jobs()}
        assert reader.overview().resources == []
    assert {str(row.state) for row in rows.values()} == {"succeeded"}
    assert "crash-consistent" in (rows[IDS[0]].reason or "")
    assert batchexport("resources", "list.state").stdout == "nothing is held\n"

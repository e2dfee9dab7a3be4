"""Runs that are submitted to workers, as the commands have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchexport.store.postgres.reference import DatabasePath
from tests.cli.served import IDS, served, volumes
from tests.store.postgres.server import Server

Call = Callable[..., Result]
PACE = ("--requests-per-second", "0", "--poll-interval", "0.1")


def listed(name: str = "march", *more: str) -> Path:
    path = Path(f"{name}.csv")
    path.write_text("\n".join(["volume_id", *IDS, *more]) + "\n")
    return path


def test_what_was_submitted_is_exported_by_a_worker_and_seen_by_all(
    batchexport: Call, database: DatabasePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHEXPORT_DATABASE", str(database))
    assert "no run is submitted" in batchexport("status", database).stdout
    assert "no worker is there" in batchexport("workers").stdout
    with served(*volumes()) as sandbox:
        submitted = batchexport("submit", listed(), "--os-cloud", "served", *PACE)
        assert submitted.exit_code == 0, submitted.output
        assert f"submitted to the workers of {database}" in submitted.stderr
        waiting = batchexport("status", database)
        assert "waits for a worker" in waiting.stdout
        assert sandbox.exports_per_volume == {}
        worked = batchexport("worker", "--once", "--name", "w1")
        assert worked.exit_code == 0, worked.output
        assert sandbox.exports_per_volume == dict.fromkeys(IDS, 1)
        (run,) = json.loads(batchexport("status", database, "-f", "json").stdout)
        assert (run["standing"], run["succeeded"], run["to_do"]) == ("ended", 5, 0)
        assert "5 rows = 5 succeeded" in batchexport("status", "march").stdout
        again = batchexport("submit", listed(), "--os-cloud", "served")
        assert again.exit_code == 0
        assert batchexport("worker", "--once").exit_code == 0
        assert sandbox.exports_per_volume == dict.fromkeys(IDS, 1)
    assert "continuing" in batchexport("ctl", "march", "continue").output


def test_a_run_is_paused_and_continued(batchexport: Call, database: DatabasePath) -> None:
    run = database / "march"
    with served(*volumes()) as sandbox:
        assert batchexport("submit", listed(), "--os-cloud", "served", "--state", run).exit_code == 0
        assert "running" in batchexport("ctl", run).output
        assert "paused" in batchexport("ctl", run, "pause").output
        assert "already" in batchexport("ctl", run, "pause").output
        assert batchexport("worker", database, "--once").exit_code == 0
        assert sandbox.exports_per_volume == {}
        assert "continuing" in batchexport("ctl", run, "continue").output
        assert "going on already" in batchexport("ctl", run, "continue").output
        assert batchexport("worker", database, "--once").exit_code == 0
        assert sandbox.exports_per_volume == dict.fromkeys(IDS, 1)
    refused = batchexport("ctl", run, "drain")
    assert (refused.exit_code, "not for a run in a database" in refused.stderr) == (2, True)


def test_too_many_failed_rows_pause_the_run_for_all_workers(
    batchexport: Call, database: DatabasePath
) -> None:
    run = database / "march"
    with served(*volumes(statuses=["in-use", "in-use", "in-use"])):
        words = ("submit", listed(), "--os-cloud", "served", "--state", run, "--max-failures", "2", *PACE)
        assert batchexport(*words).exit_code == 0
        assert batchexport("worker", database, "--once").exit_code == 0
        shown = batchexport("status", database).stdout
        assert "march: paused" in shown
        assert "failed rows, the limit of --max-failures" in shown


def test_a_cloud_that_nobody_has_is_waited_for(
    batchexport: Call, database: DatabasePath, postgres: Server
) -> None:
    with served(*volumes()):
        words = ("submit", listed(), "--os-cloud", "nowhere", "--state", database / "march")
        assert batchexport(*words).exit_code == 0
        postgres.sql(
            """INSERT INTO batchexport.worker (worker_name, host, pid, version, clouds, slots, began_at,
                seen_at, lease_until)
            SELECT 'w9', 'node9', 9, '1', '["prod"]', 10, now, now, now + 20
            FROM (SELECT extract(epoch FROM clock_timestamp()) AS now) AS clock""",
            database=database.name,
        )
        assert "waits for a worker whose clouds.yaml has nowhere" in batchexport("status", database).stdout
    shown = batchexport("workers", database).stdout
    assert "w9: working, 0 targets of 10, last sign" in shown
    (record,) = json.loads(batchexport("workers", database, "-f", "json").stdout)
    assert (record["worker"], record["clouds"], record["state"]) == ("w9", ["prod"], "working")
    drained = batchexport("drain", database, "--worker", "w9")
    assert (drained.exit_code, "w9" in drained.stderr) == (0, True)
    assert "draining" in batchexport("workers", database).stdout
    postgres.sql("UPDATE batchexport.worker SET lease_until = 0", database=database.name)
    assert "not heard of" in batchexport("workers", database).stdout
    gone = batchexport("drain", database, "--host", "node9")
    assert (gone.exit_code, "no worker on node9 is alive" in gone.stderr) == (2, True)
    assert batchexport("drain", database).exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("march.csv",), "needs the name of a cloud"),
        (("march.csv", "--os-cloud", "sandbox"), "a sandbox of its own"),
        (("march.csv", "--os-cloud", "x", "--os-password", "hush"), "no such option"),
        (("march.csv", "--os-cloud", "x", "--state", "march.state"), "share a database"),
        (("march.csv", "--os-cloud", "x", "--in-use", "stop"), None),
    ],
)
def test_what_workers_cannot_be_given_is_refused_before_anything_is_loaded(
    batchexport: Call,
    database: DatabasePath,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str | None,
) -> None:
    monkeypatch.setenv("BATCHEXPORT_DATABASE", str(database))
    listed()
    refused = batchexport("submit", *words)
    if said is None:  # without consent
        said = "nobody has consented"
    assert refused.exit_code == 2, refused.output
    assert said in refused.stderr
    assert "hush" not in refused.output
    assert "no run is submitted" in batchexport("status", database).stdout
    assert "no run is in" in batchexport("status", database / "march").stderr


def test_a_list_whose_rows_name_destinations_is_refused(batchexport: Call, database: DatabasePath) -> None:
    Path("march.csv").write_text(f"volume_id,deliver\n{IDS[0]},cloud:other\n")
    refused = batchexport("submit", "march.csv", "--os-cloud", "served", "--state", database / "march")
    assert refused.exit_code == 2, refused.output
    assert "workers deliver nothing" in refused.stderr
    assert "no run is in" in batchexport("status", database / "march").stderr


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[window]\nhours = "22:00-06:00"\ntime_zone = "UTC"\n', "nights and windows"),
        ('[hooks]\nbefore_run = "true"\n', "[hooks]"),
        ("[limits]\nmax_gib = 5\n", "--max-gib"),
    ],
)
def test_a_job_file_with_what_workers_do_not_know_is_refused(
    batchexport: Call, database: DatabasePath, table: str, said: str
) -> None:
    listed()
    Path("march.toml").write_text(f'[job]\nlist = "march.csv"\n[cloud]\nname = "served"\n{table}')
    refused = batchexport("submit", "march.toml", "--state", database / "march")
    assert refused.exit_code == 2, refused.output
    assert said in refused.stderr

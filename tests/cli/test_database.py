"""Runs in a PostgreSQL database, as the commands have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchexport.store.postgres.address import conninfo
from batchexport.store.postgres.connection import VERSION
from batchexport.store.postgres.reference import DatabasePath, database_path
from tests.cli.lists import quick_ids, write_list
from tests.cli.test_run import QUICK, SUM_OF_THREE, exports_per_volume
from tests.store.postgres.server import Server

Call = Callable[..., Result]


def test_a_run_in_a_database_is_worked_on_and_looked_at_like_one_in_a_file(
    batchexport: Call, database: DatabasePath
) -> None:
    volumes = write_list(Path("volumes.csv"))
    first = batchexport("run", volumes, *QUICK, "--state", database, "--no-wait")
    assert first.exit_code == 0, first.output
    assert f"batchexport resume {database}/volumes --os-cloud sandbox" in first.stdout
    second = batchexport("resume", database / "volumes", *QUICK)
    assert second.stdout.splitlines()[0] == SUM_OF_THREE, second.output
    again = batchexport("run", volumes, *QUICK, "--state", database / "volumes")
    assert (again.exit_code, again.stdout.splitlines()[0]) == (0, SUM_OF_THREE)
    assert exports_per_volume("volumes.sandbox") == Counter(quick_ids(3))
    for command in ("status", "report", "servers"):
        shown = batchexport(command, database / "volumes")
        assert shown.exit_code == 0, shown.output
    assert {path.name for path in Path().iterdir()} == {"volumes.csv", "volumes.sandbox"}


def test_failed_rows_give_code_3_and_retry_tries_them_again(
    batchexport: Call, database: DatabasePath
) -> None:
    volumes = write_list(Path("v.csv"), 2, header="volume_id,disk_format", row="{},vmdk")
    first = batchexport("run", volumes, *QUICK, "--state", database)
    assert first.exit_code == 3, first.output
    retried = batchexport("retry", database / "v", *QUICK)
    assert retried.exit_code == 3
    assert "retrying 2 rows" in retried.output.replace("again", "") or "2 rows" in retried.output


def test_a_list_that_changed_is_taken_in(batchexport: Call, database: DatabasePath) -> None:
    volumes = write_list(Path("volumes.csv"), 3)
    assert batchexport("run", volumes, *QUICK, "--state", database).exit_code == 0
    volumes.write_text("".join(f"{line}\n" for line in ["volume_id", *quick_ids(5)[1:]]))
    tried = batchexport("run", volumes, *QUICK, "--state", database, "--dry-run")
    assert "2 new rows, 1 row no longer listed" in tried.stdout, tried.output
    changed = batchexport("run", volumes, *QUICK, "--state", database)
    assert changed.exit_code == 0, changed.output
    assert "5 rows = 5 succeeded" in changed.stdout
    assert exports_per_volume("volumes.sandbox") == Counter(quick_ids(5))


def test_a_run_that_never_tried_a_row_leaves_nothing(batchexport: Call, database: DatabasePath) -> None:
    volumes = write_list(Path("volumes.csv"))
    assert batchexport("run", volumes, "--os-cloud", "nowhere", "--state", database).exit_code == 2
    assert "no run is in" in batchexport("status", database / "volumes").output


def test_the_variable_names_the_database_and_an_argument_the_run(
    batchexport: Call, database: DatabasePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHEXPORT_DATABASE", str(database))
    assert batchexport("run", write_list(Path("march.csv")), *QUICK).exit_code == 0
    shown = batchexport("status", "march")
    assert str(database / "march") in shown.stdout
    other = batchexport("status", "april")
    assert other.exit_code == 2
    assert "no such run" in other.stderr
    assert f"runs in {database}: march" in other.stderr
    assert "warning" not in shown.stderr
    assert batchexport("db", "check").exit_code == 0


def test_a_database_is_prepared_once_and_what_is_not_says_so(batchexport: Call, postgres: Server) -> None:
    postgres.sql("CREATE DATABASE bare")
    bare = f"postgresql://admin@127.0.0.1:{postgres.port}/bare"
    refused = batchexport("run", write_list(Path("volumes.csv")), *QUICK, "--state", bare)
    assert (refused.exit_code, refused.stdout) == (5, "")
    assert f"batchexport db init {bare}" in refused.stderr
    assert "is prepared" in batchexport("db", "init", bare).stderr
    assert "prepared already" in batchexport("db", "init", bare).stderr
    assert f"is of format {VERSION}" in batchexport("db", "upgrade", bare).stderr


def test_a_password_on_the_command_line_is_refused_and_not_repeated(batchexport: Call) -> None:
    address = "postgresql://me:hush@127.0.0.1/exports/march"
    for words in (("status", address), ("run", "-", "--state", address), ("db", "check", address)):
        refused = batchexport(*words, input="")
        assert refused.exit_code == 2
        assert "holds a password" in refused.stderr
        assert "hush" not in refused.output


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("postgresql://127.0.0.1", "no address of a run"),
        ("postgresql:///exports/march", "no address of a run"),
        ("postgresql://127.0.0.1/exports/march/april", "no address of a run"),
        ("postgresql://127.0.0.1/exports/a b", "cannot be called so"),
        ("postgresql://127.0.0.1/exports/march?sslmode=disable", "do not belong"),
        ("postgresql://127.0.0.1:1/exports/march", "cannot look for the run"),
    ],
)
def test_an_address_that_is_none_is_told(batchexport: Call, address: str, word: str) -> None:
    refused = batchexport("status", address)
    assert refused.exit_code in (2, 74)
    assert word in refused.stderr
    assert "Traceback" not in refused.output


def test_a_server_elsewhere_has_to_prove_who_it_is() -> None:
    def mode(address: str, **environment: str) -> str | None:
        return conninfo(database_path(address), environment).get("sslmode")

    assert mode("postgresql://db.example/exports") == "verify-full"
    assert mode("postgresql://10.0.0.7:5433/exports/march") == "verify-full"
    assert mode("postgresql://127.0.0.1/exports") is None
    assert mode("postgresql://localhost/exports") is None
    assert mode("postgresql://%2Fvar%2Frun%2Fpostgresql/exports") is None
    assert mode("postgresql://db.example/exports", PGSSLMODE="require") is None
    variable = "postgresql://me:hush@db.example/exports?sslmode=verify-ca"
    known = conninfo(database_path("postgresql://me@db.example/exports"), {"BATCHEXPORT_DATABASE": variable})
    assert (known["sslmode"], known["password"]) == ("verify-ca", "hush")
    others = conninfo(
        database_path("postgresql://me@other.example/exports"), {"BATCHEXPORT_DATABASE": variable}
    )
    assert "password" not in others


def test_a_database_that_would_lose_what_it_acknowledged_is_refused(
    batchexport: Call, postgres: Server, database: DatabasePath
) -> None:
    postgres.sql("ALTER SYSTEM SET fsync = off")
    postgres.sql("SELECT pg_reload_conf()")
    try:
        while postgres.sql("SHOW fsync") != [("off",)]:
            pass
        refused = batchexport("db", "check", database)
    finally:
        postgres.sql("ALTER SYSTEM RESET fsync")
        postgres.sql("SELECT pg_reload_conf()")
    assert refused.exit_code == 5
    assert "error    fsync is off" in refused.stdout


def test_a_worker_makes_no_tables_and_a_reader_only_looks(
    batchexport: Call, postgres: Server, database: DatabasePath
) -> None:
    name = database.name
    for role in ("worker", "reader"):
        postgres.sql(f"CREATE ROLE {role}_{name} LOGIN IN ROLE batchexport_{role}")
    place = f"127.0.0.1:{postgres.port}/{name}"
    worker, reader = f"postgresql://worker_{name}@{place}", f"postgresql://reader_{name}@{place}"
    volumes = write_list(Path("volumes.csv"))
    done = batchexport("run", volumes, *QUICK, "--state", worker)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, SUM_OF_THREE), done.output
    assert batchexport("report", f"{reader}/volumes").exit_code == 0
    refused = batchexport("resume", f"{reader}/volumes", *QUICK)
    assert refused.exit_code == 5
    assert "needs the role batchexport_worker" in refused.stderr
    assert batchexport("run", volumes, *QUICK, "--state", f"{reader}/other").exit_code == 5
    assert (
        batchexport("db", "init", f"postgresql://reader_{name}@127.0.0.1:{postgres.port}/postgres").exit_code
        == 5
    )
    assert "may look, not work" in batchexport("db", "check", reader).stdout
    tables = postgres.sql(
        "SELECT count(*) FROM pg_tables WHERE tableowner LIKE 'worker%' OR tableowner LIKE 'reader%'",
        database=name,
    )
    assert tables == [(0,)]

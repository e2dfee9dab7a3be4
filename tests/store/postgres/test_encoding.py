"""Databases of other encodings than UTF8: one without any holds all texts, a narrow one is warned of."""

from __future__ import annotations

from batchexport.model import TargetKey
from batchexport.store import StateFile
from batchexport.store.postgres import admin
from batchexport.store.postgres.reference import DatabasePath, database_path
from tests.store.making import make, row
from tests.store.postgres.server import Server


def of_encoding(server: Server, encoding: str) -> DatabasePath:
    name = f"in_{encoding.lower()}"
    server.sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    database = database_path(f"postgresql://admin@127.0.0.1:{server.port}/{name}")
    assert admin.initialise(database)
    return database


async def test_a_database_without_an_encoding_holds_a_run_with_any_names(postgres: Server) -> None:
    database = of_encoding(postgres, "SQL_ASCII")
    run = make(database / "march", [row(1, target=TargetKey("größe", None, None))])
    async with StateFile.open(run) as store:
        assert store.targets[0].key.cloud == "größe"
        await (await store.take(1)).release()
    assert any("SQL_ASCII" in each.words and not each.is_warning for each in admin.check(database))


def test_a_narrow_encoding_is_warned_of(postgres: Server) -> None:
    database = of_encoding(postgres, "LATIN1")
    assert any("LATIN1" in each.words and each.is_warning for each in admin.check(database))

"""The statements of the state file in PostgreSQL's words: one set of statements, two dialects.

What both understand stays as it is. The rest is a word here and there (`9e999`, `IS NOT`, `json_each`), and a
few statements have a second form. Tables that a state file makes when it first needs them are there from the
beginning, for a worker may make none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from batchexport.store.sqlite.schema import IS_READY

#: What the index of jobs that may go at once is ordered by, and no other index is.
READY_ORDER = "job_id + 0"
#: Of the tables that are written with OR REPLACE, what a row is known by.
_KEYS = {
    "target_identity": "target_id",
    "name_looked_up": "job_id",
    "names_listed": "target_id",
    "volume_name": "target_id, volume_id",
    "image_status": "target_id, image_id",
    "delivery_policy": "target_id",
}
#: Made in any case: these do nothing.
_MAKES = re.compile(r"\s*(CREATE (UNIQUE INDEX|INDEX|TABLE) IF NOT EXISTS|DROP INDEX IF EXISTS)")
_INSERTS = re.compile(r"INSERT OR (IGNORE|REPLACE) INTO (\w+) \(([^)]*)\)")


_IS_THERE = r"SELECT 1 FROM (?:fresh\.)?sqlite_master WHERE type = 'table' AND name ="


def _without(found: re.Match[str]) -> str:
    """Options without some of their names."""
    names = re.findall(r"\$\.(\w+)", found.group(2))
    return (
        f"(coalesce({found.group(1)}.options, '{{}}')::jsonb"
        + "".join(f" - '{name}'" for name in names)
        + ")"
    )


#: By SQLite's words, those of PostgreSQL. In this order.
_WORDS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"%", "%%"),
    (r"\b9e999\b", "'Infinity'::float8"),
    # The mark of a log that is there or not: a database has none.
    (rf"{_IS_THERE} 'log_mark'", "SELECT 1 WHERE false"),
    (rf"{_IS_THERE} '\w+'", "SELECT 1"),
    (r"\bmain\.", ""),
    (r" WITHOUT ROWID", ""),
    (r" STRICT\b", ""),
    (r"INDEXED BY \w+", ""),
    (r" LIMIT -1", ""),
    (r"\bIN \(\)", "IN (NULL)"),
    (r"\bsize_gib DESC\b", "size_gib DESC NULLS LAST"),
    (r"CROSS JOIN (\w+) USING", r"JOIN \1 USING"),
    (
        r"job_id IN \(SELECT value FROM json_each\(([?:]\w*)\)\)",
        r"job_id IN (SELECT json_array_elements_text(\1::json)::bigint)",
    ),
    (r"SELECT value FROM json_each\(([?:]\w*)\)", r"SELECT json_array_elements_text(\1::json)"),
    (r"json_group_array\((\w+)\)", r"coalesce(json_agg(\1), '[]'::json)::text"),
    (r"json_extract\(options, '\$\.(\w+)'\)", r"(options::json ->> '\1')"),
    (r"json_remove\(coalesce\((\w+)\.options, '\{\}'\), ([^)]*)\)", _without),
    (r"\binstr\(", "strpos("),
    (r"\bIS NOT (?!NULL\b)", "IS DISTINCT FROM "),
    (r"\bIS (?!NULL\b|NOT\b|DISTINCT\b)", "IS NOT DISTINCT FROM "),
)
_COMPILED = tuple((re.compile(pattern), put) for pattern, put in _WORDS)
_PLACES = re.compile(r"\?(\d*)|(?<![:\w]):([a-z]\w*)")
_TEXTS = re.compile(r"('(?:[^']|'')*')")

# The list of images comes as JSON, and is taken apart by its places.
_NAMED = re.compile(r"json_extract\(value, '\$\[(\d)\]'\)")


@lru_cache(maxsize=1024)
def translated(statement: str) -> str:
    """The statement for psycopg; empty where there is nothing to do."""
    if _MAKES.match(statement):
        return ""
    statement = re.sub(r"--[^\n]*", "", statement)
    statement = _NAMED.sub(r"(value ->> \1)", statement).replace(
        "FROM json_each(?)\n    JOIN", "FROM json_array_elements(?::json) AS value\n    JOIN"
    )
    for pattern, put in _COMPILED:
        statement = pattern.sub(put, statement)
    statement = _inserted(_in_order_of_its_index(statement))
    return "".join(
        part if part.startswith("'") else _PLACES.sub(_place, part) for part in _TEXTS.split(statement)
    )


def _in_order_of_its_index(statement: str) -> str:
    """A statement for jobs that may go at once, so that their index alone has them in its order.

    By the numbers of all jobs the planner would find the first of them as well, past a million that ended,
    and statistics of an hour ago tell it that those have not.
    """
    if f"{IS_READY}" not in statement:
        return statement
    statement = statement.replace("job_id > ", f"{READY_ORDER} > ")
    if "ORDER BY" not in statement:
        return statement.replace(" LIMIT", f" ORDER BY {READY_ORDER} LIMIT")
    return statement.replace("ORDER BY job_id", f"ORDER BY {READY_ORDER}")


def _as_expression(found: re.Match[str]) -> str:
    """A column compared as an expression, for which there is no index."""
    column, compared = found.group(1).split(" ", 1)
    return f"{column} || '' {compared}"


def _place(found: re.Match[str]) -> str:
    number, name = found.groups()
    if name:
        return f"%({name})s"
    return f"%(p{number})s" if number else "%s"


def is_numbered(statement: str) -> bool:
    """Whether its values are told by numbers: `?1`."""
    return "?1" in statement


def _inserted(statement: str) -> str:
    found = _INSERTS.search(statement)
    if found is None:
        return statement
    kind, table, columns = found.groups()
    plain = _INSERTS.sub(rf"INSERT INTO {table} ({columns})", statement)
    if kind == "IGNORE":
        return f"{plain} ON CONFLICT DO NOTHING"
    key = _KEYS[table]
    values = [name for name in columns.split(", ") if name not in key.split(", ")]
    changes = ", ".join(f"{name} = excluded.{name}" for name in values)
    return f"{plain} ON CONFLICT ({key}) DO UPDATE SET {changes}"


#: The types of what a bulk of changes tells of each job.
_TYPES = {
    "job_id": "bigint",
    "attempt": "bigint",
    "image": "text",
    "request": "text",
    "at": "float8",
    "deadline": "float8",
    "size": "bigint",
    "status": "bigint",
    "code": "text",
    "reason": "text",
    "hash": "text",
    "state": "text",
    "next_at": "float8",
    "uncounted": "bigint",
    "sent": "boolean",
}


@lru_cache(maxsize=256)
def bulk(form: str, fields: tuple[str, ...]) -> str:
    """A statement of `changes` with its table `given`, a line for each change, from one array per field.

    The planner is not to look for jobs by target or state, whose indexes are large or out of date: each is
    found by its number.
    """
    arrays = ", ".join(f"?::{_TYPES[field]}[]" for field in fields)
    names = ", ".join(fields)
    statement = form.format(given=f"(SELECT * FROM unnest({arrays}) AS line ({names})) AS given")
    statement = re.sub(r"(\bjob\.target_id|\btarget_id) = \?", r"\1 + 0 = ?", statement)
    statement = re.sub(r"\b(job\.state = '|state IN \()", _as_expression, statement)
    return translated(statement)


def as_type(field: str, column: Sequence[Any]) -> list[Any]:
    """The values of one field of a bulk, of one kind all of them: an array holds no mixture."""
    kind = {"float8": float, "bigint": int, "boolean": bool}.get(_TYPES[field])
    if kind is None:
        return list(column)
    return [None if value is None else kind(value) for value in column]

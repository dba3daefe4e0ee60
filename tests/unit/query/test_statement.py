"""Which columns a statement reads, and that a query over those alone gives the same result as over all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow
import pytest

from broker_plane.errors import QueryFailedError, QueryRefusedError
from broker_plane.query.duckdb_query import DuckDbQuery
from broker_plane.query.limits import QueryLimits

LIMITS = QueryLimits(memory_bytes=256 << 20, threads=1)
A = pyarrow.table({"id": [1, 2, 3], "x": ["p", "q", "p"], "y": [1.5, 2.5, 3.5], "a b": [7, 8, 9], "s": [{"x": 1}] * 3})
B = pyarrow.table({"id": [1, 3, 4], "x": ["p", "r", "p"], "z": [10, 30, 40]})
TABLES = {"a": A, "b": B}
COLUMNS = {name: table.column_names for name, table in TABLES.items()}


@pytest.fixture(scope="module")
def query() -> Iterator[DuckDbQuery]:
    made = DuckDbQuery.prepared(LIMITS)
    yield made
    made.connection.close()


def _result(sql: str, tables: dict[str, Any]) -> Any:
    query = DuckDbQuery.prepared(LIMITS)
    query.load(tables)
    try:
        with pyarrow.ipc.open_stream(b"".join(map(bytes, query.result(sql)))) as reader:
            return reader.read_all()
    finally:
        query.connection.close()


@pytest.mark.parametrize(
    ("sql", "needed"),
    [
        ("SELECT x, count(*) AS n FROM a GROUP BY x ORDER BY n DESC, x", {"a": ["x"]}),
        ("SELECT count(*) FROM a", {"a": ["id"]}),
        ("SELECT a.x, b.z FROM a JOIN b ON a.id = b.id ORDER BY 2", {"a": ["id", "x"], "b": ["id", "x", "z"]}),
        ("SELECT y FROM a JOIN b USING (id) ORDER BY 1", {"a": ["id", "y"], "b": ["id"]}),
        ('SELECT "a b" + 1 AS v FROM a t WHERE t."Y" > 2 ORDER BY v', {"a": ["y", "a b"]}),
        ("WITH c AS (SELECT id, y FROM a) SELECT max(y) FROM c WHERE id > 1", {"a": ["id", "y"]}),
        ("SELECT sum(y) OVER (PARTITION BY x ORDER BY id) AS r FROM a ORDER BY r", {"a": ["id", "x", "y"]}),
        ("SELECT list_sum(list_transform([1, 2], lambda q: q + y)) AS l FROM a ORDER BY l", {"a": ["y"]}),
        ("SELECT max(z) FROM b WHERE id IN (SELECT id FROM a WHERE y < 3)", {"a": ["id", "y"], "b": ["id", "z"]}),
        ("SELECT s.x FROM a", {"a": ["x", "s"]}),
        ("SELECT y FROM a QUALIFY row_number() OVER (ORDER BY id DESC) = 1", {"a": ["id", "y"]}),
        ("SELECT z FROM b UNION ALL SELECT id FROM a ORDER BY 1", {"a": ["id"], "b": ["id", "z"]}),
        ("SELECT n, y FROM a, range(2) r(n) ORDER BY n, y", {"a": ["y"]}),
        ("SELECT v FROM (SELECT unnest([y, id]) AS v FROM a) ORDER BY v", {"a": ["id", "y"]}),
        # All columns, as far as anybody can tell.
        ("SELECT * FROM b ORDER BY ALL", COLUMNS),
        ("FROM b ORDER BY ALL", COLUMNS),
        ("TABLE b", COLUMNS),
        ("SELECT b.* EXCLUDE (z) FROM b ORDER BY ALL", COLUMNS),
        ("SELECT max(COLUMNS(*)) FROM b", COLUMNS),
        ("SELECT min(COLUMNS('i.*')) FROM b", COLUMNS),
        ("SELECT b FROM b ORDER BY id", COLUMNS),
        ("SELECT t FROM b t ORDER BY id", COLUMNS),
        ("SELECT to_json(b) AS j FROM b ORDER BY j", COLUMNS),
        ("SELECT count(*) FROM a NATURAL JOIN b", COLUMNS),
        ("SELECT q FROM b t(p, q) ORDER BY q", COLUMNS),
        ("SELECT #2 FROM b ORDER BY 1", COLUMNS),
        ("SUMMARIZE SELECT z FROM b", COLUMNS),
        ("DESCRIBE b", COLUMNS),
        ("FROM (PIVOT b ON x IN ('p', 'r') USING sum(z)) ORDER BY ALL", COLUMNS),
        ("FROM (UNPIVOT b ON id, z) ORDER BY ALL", COLUMNS),
        ("WITH c(u) AS (SELECT id FROM b) SELECT u FROM c ORDER BY u", None),
        ("SELECT x FROM b POSITIONAL JOIN (SELECT y FROM a) ORDER BY ALL", None),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n, z FROM r, b", None),
    ],
)
def test_a_query_over_the_columns_that_it_needs_gives_the_same_result(
    query: DuckDbQuery, sql: str, needed: dict[str, list[str]] | None
) -> None:
    found = query.needs(sql, COLUMNS)
    if needed is COLUMNS:
        assert {name: COLUMNS[name] for name in found} == found
    elif needed is not None:
        assert found == needed
    assert _result(sql, {name: TABLES[name].select(columns) for name, columns in found.items()}) == _result(sql, TABLES)


def test_of_columns_that_differ_only_in_case_none_can_be_named(query: DuckDbQuery) -> None:
    """SQL's `x` is the first of them, whichever was meant."""
    for sql in ("SELECT y FROM a", "SELECT * FROM a", "SELECT x_1 FROM a"):
        assert query.needs(sql, {"a": ["x", "X", "y"]}) == {"a": ["x", "X", "y"]}
    with pytest.raises(QueryFailedError, match="differ in case alone"):
        query.needs("SELECT X FROM a", {"a": ["x", "X", "y"]})


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("SELECT * FROM main.a", "without schema"),
        ("SELECT * FROM range(3), read_text('x')", "'read_text'"),
        ("SELECT current_setting('threads')", "'current_setting'"),
        ("SHOW TABLES", "SHOW"),
        ("WITH pg_tables AS (SELECT * FROM pg_tables) SELECT * FROM pg_tables", "reserved"),
    ],
)
def test_a_statement_that_reads_more_than_its_tables_is_refused(query: DuckDbQuery, sql: str, says: str) -> None:
    with pytest.raises(QueryRefusedError, match=says):
        query.needs(sql, COLUMNS)


def test_an_unknown_table_is_named(query: DuckDbQuery) -> None:
    with pytest.raises(QueryFailedError, match="no table 'c' here; there are: a, b"):
        query.needs("SELECT * FROM a, c", COLUMNS)

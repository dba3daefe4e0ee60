"""The warehouse reads, says what is wrong in one line, and reaches nothing outside its tables."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from demos import db
from servers import warehouse
from servers.checksum import rows_checksum


def rows(sql: str) -> list[dict[str, Any]]:
    return list(warehouse.query(sql))


def test_every_flight_is_there() -> None:
    assert rows("SELECT count(*) AS flights FROM flights") == [{"flights": db.ALL}]


def test_the_rows_are_those_of_the_package() -> None:
    sql = "SELECT * FROM flights LIMIT 2000"
    assert rows_checksum(rows(sql)) == rows_checksum(islice(db.flights(), 2000))


def test_rows_are_made_as_they_are_asked_for() -> None:
    stream = warehouse.query("SELECT a.* FROM flights a, flights b")
    assert len(list(islice(stream, 3))) == 3


def test_cells_are_plain_values_and_a_missing_one_is_none() -> None:
    (row,) = rows(
        "SELECT dep_time, tailnum, time_hour, 'nan'::DOUBLE AS nan FROM flights WHERE dep_time IS NULL LIMIT 1"
    )
    assert row["dep_time"] is None and row["nan"] is None
    assert isinstance(row["tailnum"], str) and isinstance(row["time_hour"], datetime)


def test_the_tables_are_listed_with_their_types() -> None:
    assert set(warehouse.tables()) == {"flights", "airlines", "airports", "planes", "weather"}
    assert warehouse.tables()["flights"]["arr_delay"] == "BIGINT"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE flights",
        "SELECT 1; SELECT 2",
        "COPY flights TO 'flights.csv'",
        "SET threads = 1",
        "",
        "PRAGMA version",
    ],
)
def test_only_one_select_is_taken(sql: str) -> None:
    with pytest.raises(ToolError, match="exactly one SELECT"):
        rows(sql)


def test_a_select_that_writes_is_refused_by_the_transaction() -> None:
    with pytest.raises(ToolError, match="read-only"):
        rows("WITH new AS (INSERT INTO airlines VALUES ('ZZ', 'Nobody') RETURNING *) SELECT * FROM new")
    assert rows("SELECT count(*) AS n FROM airlines") == [{"n": 16}]


@pytest.mark.parametrize(
    "call", ["read_csv('{}')", "read_text('{}')", "glob('{}')", "read_csv('http://127.0.0.1:9/x.csv')"]
)
def test_no_file_and_no_network_is_reached(call: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(ToolError) as refusal:
        rows("SELECT * FROM " + call.format(secret))  # noqa: S608 - this is the attack
    assert "\n" not in str(refusal.value)


def test_a_variable_of_the_server_is_no_table() -> None:
    with pytest.raises(ToolError, match="does not exist"):
        rows("SELECT * FROM TABLES_")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM flights", "nope"),
        ("SELECT carrier::INT FROM flights", "Could not convert"),
        ("SELECT 1 AS a, 2 AS a", "AS"),
        ("SELECT now()", "cast it to TIMESTAMP"),
    ],
)
def test_bad_sql_is_answered_by_one_line_that_says_what_to_do(sql: str, said: str) -> None:
    with pytest.raises(ToolError) as refusal:
        rows(sql)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)

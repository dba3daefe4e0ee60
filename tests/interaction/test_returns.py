"""What functions ordinarily return: each is a table to a consumer, and to the model, and to the API."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from broker_plane import Plane, PlaneServer
from broker_plane.errors import TabularError
from tests.interaction.conftest import Agent, error_of, shape_of, text_of

pytestmark = pytest.mark.anyio

FIELDS = [("id", "i8"), ("name", "U1")]
ROWS = [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
BARE = [{"column1": 1, "column2": "x"}, {"column1": 2, "column2": "y"}]
QUERY = "select * from (values (1, 'x'), (2, 'y'))"


class Point(NamedTuple):
    id: int
    name: str


class Model(BaseModel):
    id: int
    name: str


@dataclass
class Record:
    id: int
    name: str


def sqlite(row_factory: Any = None) -> Any:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = row_factory
    return connection.execute("select 1 as id, 'x' as name union all select 2, 'y'")


def duck() -> Any:
    return duckdb.connect().execute("select 1 as id, 'x' as name union all select 2, 'y' order by 1")


class AsyncCursor:
    """As psycopg's: read by `async for`, with a description of its columns."""

    description = (("id", 23), ("name", 25))

    def __init__(self) -> None:
        self._rows = iter([(1, "x"), (2, "y")])

    async def fetchmany(self, size: int = 1) -> list[Any]:
        raise AssertionError("an asynchronous cursor is iterated")

    def __aiter__(self) -> AsyncCursor:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._rows)
        except StopIteration:
            raise StopAsyncIteration from None


FRAME = pl.DataFrame({"id": [1, 2], "name": ["x", "y"]})
PANDAS = pd.DataFrame({"id": [1, 2], "name": ["x", "y"]})
TABLE = pa.table({"id": [1, 2], "name": ["x", "y"]})


def reader() -> Any:
    return pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches())


RETURNS: dict[str, tuple[Callable[[], Any], list[dict[str, Any]]]] = {
    "tuples of fetchall": (lambda: sqlite().fetchall(), BARE),
    "rows of sqlite3": (lambda: sqlite(sqlite3.Row).fetchall(), ROWS),
    "a cursor of sqlite3": (sqlite, ROWS),
    "a cursor of sqlite3 with rows": (lambda: sqlite(sqlite3.Row), ROWS),
    "a cursor of DuckDB": (duck, ROWS),
    "tuples of DuckDB": (lambda: duck().fetchall(), BARE),
    "a relation of DuckDB": (lambda: duckdb.connect().sql(f"{QUERY} t(id, name) order by id"), ROWS),
    "an asynchronous cursor": (AsyncCursor, ROWS),
    "named tuples": (lambda: [Point(1, "x"), Point(2, "y")], ROWS),
    "models": (lambda: [Model(id=1, name="x"), Model(id=2, name="y")], ROWS),
    "dataclasses": (lambda: [Record(1, "x"), Record(2, "y")], ROWS),
    "lists": (lambda: [[1, "x"], [2, "y"]], BARE),
    "an array of numbers": (lambda: np.array([1, 2]), [{"value": 1}, {"value": 2}]),
    "an array of two dimensions": (lambda: np.array([[1, 2]]), [{"column1": 1, "column2": 2}]),
    "a structured array": (lambda: np.array([(1, "x"), (2, "y")], dtype=FIELDS), ROWS),
    "rows of a structured array": (lambda: list(np.array([(1, "x"), (2, "y")], dtype=FIELDS)), ROWS),
    "times of NumPy": (lambda: np.array(["2026-01-02"], "datetime64[ns]"), [{"value": datetime(2026, 1, 2)}]),
    "scalars of NumPy": (lambda: [np.int64(1), np.float32(0.5)], [{"value": 1}, {"value": 0.5}]),
    "dates": (lambda: [date(2026, 1, 2), Decimal("1.10")], [{"value": date(2026, 1, 2)}, {"value": Decimal("1.10")}]),
    "a polars frame": (lambda: FRAME, ROWS),
    "a lazy frame": (FRAME.lazy, ROWS),
    "a polars series": (lambda: pl.Series("id", [1, 2]), [{"id": 1}, {"id": 2}]),
    "categories": (lambda: pl.DataFrame({"c": ["x", "y"]}, schema={"c": pl.Categorical}), [{"c": "x"}, {"c": "y"}]),
    "an enumeration": (lambda: pl.DataFrame({"c": ["x"]}, schema={"c": pl.Enum(["x", "y"])}), [{"c": "x"}]),
    "a pandas frame": (lambda: PANDAS, ROWS),
    "a filtered pandas frame": (lambda: PANDAS[PANDAS.id > 1], ROWS[1:]),
    "a pandas frame with an index": (lambda: PANDAS.set_index("id"), ROWS),
    "a pandas frame of groups": (
        lambda: PANDAS.groupby(["id", "name"]).size().to_frame("n"),
        [{**row, "n": 1} for row in ROWS],
    ),
    "a pandas frame with dates": (
        lambda: pd.DataFrame({"n": [1]}, index=pd.to_datetime(["2026-01-02"])),
        [{"index": datetime(2026, 1, 2), "n": 1}],
    ),
    "a pandas series": (lambda: pd.Series([1, 2], name="id"), [{"id": 1}, {"id": 2}]),
    "counted values": (lambda: PANDAS["name"].value_counts(), [{"name": "x", "count": 1}, {"name": "y", "count": 1}]),
    "an Arrow table": (lambda: TABLE, ROWS),
    "a record batch": (lambda: TABLE.to_batches()[0], ROWS),
    "a reader": (reader, ROWS),
    "an Arrow array": (lambda: pa.array([1, 2]), [{"value": 1}, {"value": 2}]),
    "a chunked array": (lambda: pa.chunked_array([[1], [2]]), [{"value": 1}, {"value": 2}]),
}


@pytest.mark.parametrize("name", RETURNS)
async def test_an_ordinary_return_is_a_table(server: PlaneServer, agent: Agent, name: str) -> None:
    make, rows = RETURNS[name]

    @server.resource_tool
    def table() -> Any:
        return make()

    plane = await server.plane()
    shape = shape_of(await agent("table", abstract_domains=next(iter(rows[0]))))
    assert await plane.pull(shape["resource_url"]) == rows
    assert await plane.pull((await plane.publish(make())).resource_url) == rows
    plain = json.loads(text_of(await agent("table")))
    assert len(plain) == len(rows)


async def test_an_ordinary_return_is_a_version_of_a_feed(plane: Plane) -> None:
    published = await plane.publish(sqlite(), feed="returns.cursor", key="id")
    assert published.body.columns == ("id", "name")
    again = await plane.publish(FRAME.lazy(), feed="returns.cursor", key="id")
    assert again.version == published.version


async def test_a_table_without_rows_keeps_its_columns(plane: Plane) -> None:
    empty = FRAME.clear()
    published = await plane.publish(empty)
    assert published.body.columns == ("id", "name")
    assert (await plane.pull_table(published.resource_url)).column_names == ["id", "name"]


def statement(sql: str) -> Any:
    return sqlite3.connect(":memory:").execute(sql)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a cube": (lambda: np.zeros((2, 2, 2)), "3 dimensions"),
    "two columns of one name": (
        lambda: sqlite3.connect(":memory:").execute("select 1 as a, 2 as a"),
        "two columns 'a'",
    ),
    "a cursor without rows": (lambda: statement("create table t (a)"), "no rows"),
    "objects": (lambda: [object()], "Row 0 is a object"),
    "an index of a column's name": (lambda: pd.DataFrame({"a": [1]}, index=pd.Index([1], name="a")), "index"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_table_is_named(server: PlaneServer, agent: Agent, plane: Plane, name: str) -> None:
    make, said = REFUSED[name]

    @server.resource_tool
    def table() -> Any:
        return make()

    assert said in error_of(await agent("table", abstract_domains="a"))
    with pytest.raises(TabularError, match=said):
        await plane.publish(make())

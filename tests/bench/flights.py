"""The 336,776 flights of the demo: published, pulled and merged, as rows and as a table that stays one; and queried."""

from __future__ import annotations

from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import polars

from broker_plane import Plane
from broker_plane.plane.bodies.pull import PulledRows
from broker_plane.tabular.merge import merge
from servers.warehouse import database
from tests.bench.measure import Sample, timed

ABSTRACT = ("carrier", "dest")
GROUPED = "SELECT carrier, dest, count(*) AS n, sum(dep_delay) AS late FROM {} GROUP BY carrier, dest"


@cache
def flights() -> polars.DataFrame:
    frame = polars.from_arrow(database().cursor().execute("SELECT * FROM flights").to_arrow_table())
    assert isinstance(frame, polars.DataFrame)
    return frame


@cache
def rows() -> list[dict[str, Any]]:
    return flights().to_dicts()


async def whole_way(plane: Plane, form: str) -> Sample:
    """Publish, hand on two columns of every row, pull and check the two against what came. Their number is checked."""
    ms, count = await timed(_rows(plane, rows()) if form == "rows" else _table(plane, flights()))
    return {"ms": ms, "rows": count, "checksum": ""}


async def grouped(plane: Plane) -> Sample:
    """A query over a body that the bridge has not read before, by workers that are warm. The result is a body, too."""
    published = await plane.publish(flights(), ttl=300, uses="unlimited")
    ms, result = await timed(plane.query(GROUPED.format("a"), a=published.resource_url))
    return _groups(ms, await result.table())


async def grouped_by_duckdb(directory: Path) -> Sample:
    """The same of a Parquet file with the same rows, by DuckDB in this process, with a connection of its own."""
    file = directory / "flights.parquet"
    if not file.exists():
        flights().write_parquet(file)

    async def query() -> Any:
        with duckdb.connect() as connection:
            return connection.sql(GROUPED.format(f"'{file}'")).to_arrow_table()

    return _groups(*await timed(query()))


def _groups(ms: float, table: Any) -> Sample:
    rows = sorted((row["carrier"], row["dest"], row["n"], int(row["late"] or 0)) for row in table.to_pylist())
    return {"ms": ms, "rows": len(rows), "checksum": sha256(repr(rows).encode()).hexdigest()}


async def _rows(plane: Plane, data: Any) -> int:
    published = await plane.publish(data, abstract=ABSTRACT, abstract_limit="all")
    ids = [row["_row_id"] for row in published.abstract]

    def accept(got: PulledRows) -> list[dict[str, Any]]:
        return merge(published.abstract, got.ids, got.rows)

    return len(await plane.pull(published.resource_url, validate=accept, row_ids=ids))


async def _table(plane: Plane, data: polars.DataFrame) -> int:
    published = await plane.publish(data, abstract=ABSTRACT)
    shown = data.select(ABSTRACT)
    count: int = await plane.pull_table(published.resource_url, validate=partial(_checked, shown))
    return count


def _checked(shown: polars.DataFrame, table: Any) -> int:
    frame = polars.from_arrow(table)
    assert isinstance(frame, polars.DataFrame)
    if not frame.select(ABSTRACT).equals(shown):
        raise RuntimeError("What arrived is not what was published")
    return frame.height

"""The 336,776 flights of the demo, published, pulled and merged: as rows, and as a table that stays one."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import polars

from broker_plane import Plane
from broker_plane.plane.bodies.pull import PulledRows
from broker_plane.tabular.merge import merge
from servers.warehouse import database
from tests.bench.measure import Sample, timed

ABSTRACT = ("carrier", "dest")


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

"""analytics: groups and draws rows of any other server. They arrive over the broker; a table or a chart is returned.

python -m servers.analytics
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from statistics import fmean
from typing import Any, Literal

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult

from broker_plane import PlaneServer

from .charts import Format, chart_path, chart_result, draw
from .checksum import rows_checksum
from .pictures import group_bars

Row = dict[str, Any]
Aggregate = Literal["count", "sum", "mean", "min", "max"]
AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": sum,
    "mean": fmean,
    "min": min,
    "max": max,
}
MOST_GROUPS = 1_000
server = PlaneServer("analytics")


@server.consumer_tool()
def group(rows: list[Row], by: str, measure: str = "", aggregate: Aggregate = "count", checksum: bool = False) -> Row:
    """A small table: `aggregate` of the column `measure` for each value of the column `by`; nulls are left out."""
    values = grouped(rows, by, measure, aggregate)
    if len(values) > MOST_GROUPS:
        raise ToolError(f"{by!r} has {len(values):,} values, more than {MOST_GROUPS:,}: group by a coarser column")
    table = [{by: key, _title(measure, aggregate): value} for key, value in values.items()]
    return {"rows": len(rows), **_proof(rows, checksum), "table": table}


@server.consumer_tool()
def chart(
    rows: list[Row],
    x: str,
    y: str = "",
    aggregate: Aggregate = "count",
    output: str = "",
    format: Format = "png",
    checksum: bool = False,
) -> CallToolResult:
    """Bars: `aggregate` of the column `y` for each value of the column `x`, in a PNG or SVG file."""
    values = grouped(rows, x, y, aggregate)
    if not all(isinstance(value, (int, float)) for value in values.values()):
        raise ToolError(f"The {_title(y, aggregate)} is no number: draw another column, or count")
    path = chart_path(output, format, stem="chart")
    draw(group_bars(values, x=x, measure=_title(y, aggregate), rows=len(rows)), path, format)
    return chart_result(path, format, {"rows": len(rows), **_proof(rows, checksum), "groups": len(values)})


def grouped(rows: list[Row], by: str, measure: str, aggregate: Aggregate) -> dict[Any, Any]:
    """Return the aggregate for each value of `by`, sorted by value. It references cells and copies no rows.

    Raises:
        ToolError: no rows, an unknown column, or a measure that is not numeric; the message says what to choose.
    """
    if not rows:
        raise ToolError("There are no rows: choose at least one")
    for column in (by, measure or by):
        if column not in rows[0]:
            raise ToolError(f"There is no column {column!r}: choose one of {', '.join(rows[0])}")
    if not measure and aggregate != "count":
        raise ToolError(f"{aggregate} of what? Name the measure")
    groups: dict[Any, list[Any]] = defaultdict(list)
    try:
        for row in rows:
            value = row.get(measure) if measure else row
            if value is not None:
                groups[row.get(by)].append(value)
        values = {key: AGGREGATES[aggregate](cells) for key, cells in groups.items()}
    except TypeError as error:
        raise ToolError(f"No {aggregate} of {measure!r} by {by!r}: measures are numbers, groups no lists") from error
    return dict(sorted(values.items(), key=lambda item: (item[0] is None, isinstance(item[0], str), item[0])))


def _proof(rows: list[Row], asked: bool) -> dict[str, str]:
    return {"checksum": rows_checksum(rows)} if asked else {}


def _title(measure: str, aggregate: str) -> str:
    return f"{aggregate} of {measure}" if measure else aggregate


if __name__ == "__main__":
    server.run()

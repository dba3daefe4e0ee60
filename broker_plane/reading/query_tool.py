"""The tool `query_body`: SQL over bodies, for a model."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from broker_plane.errors import WireError
from broker_plane.reading.tokens import cut_text
from broker_plane.reading.tool_record import ReadingTool
from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire import slips

_MOST_ROWS = 200
_MOST_CELL_BYTES = 500
_ARGUMENTS = frozenset({"sql", "bodies", "rows"})


class _Result(Protocol):
    columns: Sequence[Any]
    rows: Sequence[Mapping[str, Any]]
    total_rows: int
    resource_url: str


class QueryPlane(Protocol):
    """The plane that the tool queries with: `broker_plane.Plane`."""

    async def query(self, sql: str, bodies: Mapping[str, str] | None = None, /, *, rows: int = 20) -> _Result: ...


async def _query(plane: QueryPlane, arguments: Mapping[str, Any]) -> str:
    if unknown := sorted(set(arguments) - _ARGUMENTS):
        raise WireError(f"query_body has no argument {unknown[0]:.40}; there are sql, bodies and rows")
    sql = arguments.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise WireError("sql is missing: one SELECT statement over the tables in bodies")
    sql = slips.bare(sql) if sql.strip().startswith("```") else sql
    return result_text(await plane.query(sql, bodies_of(arguments.get("bodies")), rows=_rows(arguments.get("rows"))))


def bodies_of(value: Any) -> dict[str, str]:
    """The tables of a call: also a JSON text, and a single URL, which is the table `a`.

    Raises:
        WireError: it maps no names to URLs.
    """
    found = _read(value) if isinstance(value, str) else value
    if isinstance(found, str) and found:
        found = {"a": found}
    if not isinstance(found, Mapping) or not found:
        raise WireError('bodies maps table names to their resource_url: {"a": resource_url}')
    addresses = {str(name): slips.url(address) for name, address in found.items()}
    for name, address in addresses.items():
        if not isinstance(address, str) or not address:
            raise WireError(f"bodies: {name:.40} is the resource_url that a result had, as text")
    return addresses


def _read(text: str) -> Any:
    try:
        return slips.read(text)
    except ValueError:
        return slips.url(text)


def _rows(value: Any) -> int:
    try:
        said = slips.number(value)
        return 20 if said is None or said == "" else max(0, min(_MOST_ROWS, int(said)))
    except (ValueError, TypeError, OverflowError) as error:
        raise WireError("rows is a whole number") from error


def result_text(result: _Result) -> str:
    """The first rows as CSV, and a line with their number and the resource_url of all of them."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    names = [column.name for column in result.columns]
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in result.rows)
    shown = f", {len(result.rows):,} shown" if len(result.rows) < result.total_rows else ""
    rows = "row" if result.total_rows == 1 else "rows"
    return f"{lines.getvalue()}[{result.total_rows:,} {rows}{shown}; all of them: {result.resource_url}]"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return cut_text(value if isinstance(value, str) else json_bytes(value).decode(), _MOST_CELL_BYTES)


QUERY_BODY = ReadingTool(
    name="query_body",
    title="Query bodies with SQL",
    description=(
        "Run one SELECT (DuckDB SQL) over bodies that are tables; spends no use. bodies names them: "
        "{'a': resource_url}. The answer has the first rows, and a resource_url for all of them."
    ),
    input_schema={
        "type": "object",
        "properties": {
            "sql": {"type": "string"},
            "bodies": {"type": "object", "additionalProperties": {"type": "string"}},
            "rows": {"type": "integer", "default": 20},
        },
        "required": ["sql", "bodies"],
    },
    run=_query,
)

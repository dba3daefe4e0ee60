"""The command query."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, bar, err, out, run, say_json
from broker_plane.cli.option_types import uses, whole_time
from broker_plane.cli.pull_output import PullOrder, pull_to_output
from broker_plane.runtime.arguments import uses_of_wire
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.querying import QueryResult
from broker_plane.tabular.csv_cells import cell


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT statement, in DuckDB's SQL.")],
    bodies: Annotated[list[str], typer.Argument(metavar="NAME=URL...", help="The tables: a name and a resource_url.")],
    rows: Annotated[int, typer.Option(help="Rows to print; the new body has all of them.", min=0, max=1000)] = 20,
    output: Annotated[
        str, typer.Option("-o", "--output", help="File to write all rows to, in the format of its extension.")
    ] = "",
    ttl: Annotated[int | None, whole_time("Lifetime of the result, such as 600, 10m or 2h.")] = None,
    use_count: Annotated[Any, uses("Completed deliveries of the result's grant. Default: unlimited.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Run SQL over bodies. The result is printed (in a pipe as CSV with a header), and is a new body.

    Example: broker-plane query "SELECT area, count(*) FROM a GROUP BY area" a=URL
    """

    async def work() -> None:
        tables = dict(map(_table, bodies))
        if len(tables) < len(bodies):
            raise typer.BadParameter("Two tables have the same name")
        async with Plane.connect() as plane:
            allowed = uses_of_wire(use_count) or "unlimited"
            result = await plane.query(sql, tables, rows=rows, ttl=ttl, uses=allowed)
            done = await _written(plane, result, output, quiet=json) if output else {}
        if json:
            say_json(result.to_wire() | done)
        elif output != "-":
            _say(result)

    run(work)


def _table(text: str) -> tuple[str, str]:
    name, found, address = text.partition("=")
    if not found or not name.strip() or not address.strip():
        raise typer.BadParameter(f"{text[:40]!r} is not NAME=URL, such as a=http://127.0.0.1:8787/s2sp/data/…")
    return name.strip(), address.strip()


async def _written(plane: Plane, result: QueryResult, output: str, *, quiet: bool) -> dict[str, Any]:
    with bar("pull", quiet=quiet) as progress:
        order = PullOrder(result.resource_url, None, None, None, None, output, False, progress)
        await pull_to_output(plane, order)
    return {"output": None if output == "-" else output, "verified": True}


def _say(result: QueryResult) -> None:
    names = [column.name for column in result.columns]
    if out.to_people:
        out.table(names, [[_shown(row.get(name)) for name in names] for row in result.rows])
    else:
        out.text(_csv(names, result))
    shown = f" ({len(result.rows):,} shown)" if result.truncated else ""
    rows = "row" if result.total_rows == 1 else "rows"
    err.print(f"{result.total_rows:,} {rows}{shown}, until {result.expires:%Y-%m-%d %H:%M:%SZ}: {result.resource_url}")


def _csv(names: list[str], result: QueryResult) -> str:
    """The printed rows as CSV, with a header."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([cell(row.get(name)) for name in names] for row in result.rows)
    return lines.getvalue().removesuffix("\n")


def _shown(value: Any) -> object:
    """A value as a cell. Large numbers are not grouped: they may be years or ids."""
    return value if value is None else str(value)

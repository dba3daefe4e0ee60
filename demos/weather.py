"""Weather alerts travel from one server to a chart on another; the agent reads two of their 29 columns.

python -m demos.weather [--mode both|async|sync] [--area CA] [--output FILE.png] [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import orjson

from .account import Answer, Run, read_source
from .around import demo_parser, is_ready
from .stage import call, play, servers

Mode = Literal["both", "async", "sync"]
ABSTRACT = "event,severity"
WORST_FIRST = ("Extreme", "Severe", "Moderate", "Minor", "Unknown")
SAMPLE = Path(__file__).resolve().parents[1] / "servers" / "sample_alerts.json"


def run(*, json: bool = False, mode: Mode = "both", area: str = "CA", output: str = "") -> int:
    """Run the demo; 0 if every row arrived unchanged."""
    return play(_story(mode, area.upper(), output), json=json) if is_ready("weather") else 1


async def _story(mode: Mode, area: str, output: str) -> list[Run]:
    modes = ["async", "sync"] if mode == "both" else [mode]
    return [await _tell(Run("weather", each), area, output) for each in modes]


async def _tell(run: Run, area: str, output: str) -> Run:
    alerts = _source_rows(area)
    async with AsyncExitStack() as stack:
        with run.step("start the servers"):
            weather, stats = await stack.enter_async_context(servers("weather", "stats"))
        with run.step("list the tools"):
            await weather.list_tools(), await stats.list_tools()
        with run.step("get_alerts on weather") as now:
            asked = {"area": area, "abstract_domains": ABSTRACT, "mode": run.mode}
            found = await call(weather, "get_alerts", asked, now)
            now.rows, now.bytes = found.said["total_rows"], len(found.text.encode())
        with run.step("choose, worst first") as now:
            chosen = sorted(found.said["abstract"], key=lambda row: WORST_FIRST.index(row["severity"]))
            arguments = _arguments(found, chosen, output)
            now.rows, now.bytes = len(chosen), len(orjson.dumps(arguments))
        with run.step("draw_chart on stats") as now:
            drawn = await call(stats, "draw_chart", arguments, now)
            now.rows, now.bytes = drawn.said["rows"], len(drawn.text.encode())
    expected = read_source(alerts[row["_row_id"]] for row in chosen)
    run.rows_total, run.rows_arrived, run.chart = found.said["total_rows"], drawn.said["rows"], drawn.said["chart"]
    # In async mode draw_chart raises unless the body was read to its verified end; the checksum identifies its source.
    run.digest_verified = (run.rows_arrived, drawn.said["checksum"]) == (expected.rows, expected.checksum)
    run.count(found, arguments, drawn, plain=read_source(alerts).plain_bytes)
    return run


def _source_rows(area: str) -> list[dict[str, Any]]:
    """Return the alerts of `area` in the sample file, read without a server."""
    rows: list[dict[str, Any]] = orjson.loads(SAMPLE.read_bytes())
    return [row for row in rows if any(zone.startswith(area) for zone in row["geocode"]["UGC"])]


def _arguments(found: Answer, chosen: list[dict[str, Any]], output: str) -> dict[str, Any]:
    """Return what the agent passes on: the chosen rows, and the URL of their bodies (async) or the bodies (sync)."""
    arguments = {"abstract_data": orjson.dumps(chosen).decode(), **({"output": output} if output else {})}
    if "body" not in found.said:
        return arguments | {"resource_url": found.said["resource_url"]}
    wanted = {row["_row_id"] for row in chosen}
    bodies = [row for row in found.said["body"] if row["_row_id"] in wanted]
    return arguments | {"body_data": orjson.dumps(bodies).decode()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("weather", __doc__)
    parser.add_argument("--mode", choices=("both", "async", "sync"), default="both")
    parser.add_argument("--area", default="CA", help="two letters of a state in the sample")
    parser.add_argument("--output", default="", help="the chart's PNG, which each run writes anew; default: a new file")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the tables")
    return run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())

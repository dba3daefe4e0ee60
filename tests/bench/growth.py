"""`python -m tests.bench.growth`: how time and memory grow with rows, with consumers, and with the bodies in the store.

What is fitted is the slope between the logarithms: 1 is linear, 0 is flat. For bodies the cost of one publish and one
pull is measured beside a store that holds so many. `--quick` leaves out the largest steps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from math import log
from pathlib import Path
from statistics import linear_regression, median

from rich.console import Console
from rich.table import Table

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.embedded.broker import stop
from tests.bench.fan_out import fan_out
from tests.bench.lines import ROOT
from tests.bench.measure import peak_mib, timed
from tests.bench.rows import opaque, table

ROWS = (100, 1_000, 10_000, 100_000, 1_000_000)
CONSUMERS = (1, 10, 100, 1_000)
BODIES = (1, 1_000, 100_000)
CONSUMED_BYTES = 1_000_000
AT_ONCE = 64
ROUNDS = 5
DISTINCT_ROWS = 1_000
Steps = list[tuple[int, float, float]]
"""How many, milliseconds, and MiB of the process at its peak (0: not measured)."""


async def whole_way(rows: int) -> tuple[float, float]:
    """Milliseconds of one publish and pull, row by row, and the peak of this process, which does nothing else."""
    made = table(DISTINCT_ROWS)
    async with Plane.connect() as plane:

        async def way() -> int:
            published = await plane.publish(made[row % DISTINCT_ROWS] for row in range(rows))
            count = 0
            async for _ in plane.iterate(published.resource_url):
                count += 1
            return count

        ms, count = await timed(way())
        assert count == rows
    return ms, peak_mib()


def rows_in_a_process(rows: int) -> tuple[int, float, float]:
    command = [sys.executable, "-m", "tests.bench.growth", "--rows", str(rows)]
    runs = [
        json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        for _ in range(3 if rows < ROWS[-1] else 1)
    ]
    return rows, median(ms for ms, _ in runs), median(mib for _, mib in runs)


async def consumers(plane: Plane, count: int) -> tuple[int, float, float]:
    published = await plane.publish(opaque(CONSUMED_BYTES), uses="unlimited")
    urls = [url for _, url in await plane.grants.mint_many(published.body.id, count, uses="unlimited")]
    samples = [
        (await fan_out(urls, published.body.digest))["ms"] for _ in range(ROUNDS if count < CONSUMERS[-1] else 1)
    ]
    return count, median(samples), 0.0


async def bodies(plane: Plane, count: int, there: int) -> tuple[int, float, float]:
    """The cost of one body more, when `count` are there."""
    for start in range(there, count, AT_ONCE):
        share = range(start, min(count, start + AT_ONCE))
        await asyncio.gather(*(plane.publish(b"%d" % number, ttl=3_600) for number in share))
    samples = []
    for _ in range(ROUNDS * 10):
        published = await plane.publish(opaque(50_000), uses=1)
        ms, _ = await timed(plane.pull(published.resource_url))
        samples.append(ms)
    return count, median(samples), 0.0


def slope(steps: Steps, value: Callable[[tuple[int, float, float]], float], beyond: int = 0) -> float:
    """Of the logarithms, from `beyond` so many on: below, a fixed cost hides it."""
    used = [step for step in steps if step[0] > beyond]
    return linear_regression([log(step[0]) for step in used], [log(value(step)) for step in used]).slope


async def stepwise(work: Callable[[Plane], Awaitable[Steps]]) -> Steps:
    """The steps on a broker of their own."""
    with tempfile.TemporaryDirectory(prefix="broker-plane-growth-") as directory:
        settings = load_settings(data_dir=Path(directory) / "store")
        try:
            async with Plane.connect(settings) as plane:
                return await work(plane)
        finally:
            stop(settings.data_dir)


def show(title: str, steps: Steps, slopes: str) -> None:
    shown = Table("how many", "ms", "MiB", title=f"{title}: {slopes}", title_justify="left")
    for column in shown.columns:
        column.justify = "right"
    for count, ms, mib in steps:
        shown.add_row(f"{count:,}", f"{ms:,.1f}", f"{mib:,.0f}" if mib else "—")
    Console().print(shown)


def run(quick: bool) -> None:
    def most(steps: Sequence[int]) -> Sequence[int]:
        return steps[:-1] if quick else steps

    by_rows = [rows_in_a_process(count) for count in most(ROWS)]
    time_slope, memory_slope = slope(by_rows, lambda step: step[1], 1_000), slope(by_rows, lambda step: step[2], 1_000)
    said = f"slope of time {time_slope:.2f}, of memory {memory_slope:.2f}, above 1,000"
    show("rows of 29 columns, published and pulled one by one", by_rows, said)

    async def by_consumers(plane: Plane) -> Steps:
        return [await consumers(plane, count) for count in most(CONSUMERS)]

    found = asyncio.run(stepwise(by_consumers))
    show("consumers of 1 MB over HTTP", found, f"slope {slope(found, lambda step: step[1], 1):.2f}, above one")

    async def by_bodies(plane: Plane) -> Steps:
        found: Steps = []
        for count in most(BODIES):
            found.append(await bodies(plane, count, found[-1][0] if found else 0))
        return found

    found = asyncio.run(stepwise(by_bodies))
    show("one body more, published and pulled, beside", found, f"slope {slope(found, lambda step: step[1]):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the largest steps")
    parser.add_argument("--rows", type=int, help="be the process of one step, and print [ms, MiB]")
    chosen = parser.parse_args()
    if chosen.rows:
        print(json.dumps(asyncio.run(whole_way(chosen.rows))))
    else:
        run(chosen.quick)


if __name__ == "__main__":
    main()

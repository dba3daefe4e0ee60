"""How both sides are measured: one clock, one whole way, one reading of peak memory.

Standard library only, like `rows`. A side is given as two tools, `await tool(name, arguments) -> text`: the
producer's and the consumer's.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from tests.bench.rows import ABSTRACT, Rows, checksum, hand_on

Result = TypeVar("Result")
Tool = Callable[[str, dict[str, Any]], Awaitable[str]]
Sample = dict[str, Any]

Form = Literal["rows", "table", "url"]
TOOLS: dict[Form, tuple[str, str]] = {
    "rows": ("get_rows", "count"),
    "table": ("get_frame", "count_frame"),
    "url": ("get_frame_url", "count_frame"),
}
DOMAINS = ",".join(ABSTRACT)


async def timed(work: Awaitable[Result]) -> tuple[float, Result]:
    """Milliseconds that `work` took, with what it returned. Garbage of earlier samples is collected before."""
    gc.collect()
    start = time.perf_counter()
    result = await work
    return (time.perf_counter() - start) * 1_000, result


def arrived(ms: float, rows: Rows) -> Sample:
    """The sample of rows that are in the driver's hands, with what the conductor compares."""
    return {"ms": ms, "rows": len(rows), "checksum": checksum(rows)}


def consumed(ms: float, text: str) -> Sample:
    """The sample of a consumer tool's call, less the time in which its function checked the rows."""
    found: dict[str, Any] = json.loads(text)
    checking = found.pop("checking_ms")
    return {"ms": ms - checking, **found}


async def whole_way(producer: Tool, consumer: Tool, rows: int, form: Form = "rows") -> Sample:
    """Resource tool call → the agent's step → consumer tool call, with every row and column.

    As rows; as a table; or as one of which the agent sees the first rows and a summary, and hands the URL on alone.
    """
    giver, taker = TOOLS[form]

    async def way() -> str:
        handed = hand_on(await publish(producer, rows, giver))
        return await consumer(taker, {"resource_url": handed["resource_url"]} if form == "url" else handed)

    return consumed(*await timed(way()))


async def some_rows(producer: Tool, consumer: Tool, rows: int, every: int) -> Sample:
    """One row in `every`, from the consumer tool's call on."""
    handed = hand_on(await publish(producer, rows), every)
    return consumed(*await timed(consumer("count", handed)))


async def memory(producer: Tool, consumer: Tool, rows: int) -> Sample:
    """Most memory that either process of a fresh pair held, in MiB, after one whole way."""
    found = await whole_way(producer, consumer, rows)
    del found["ms"]
    return {**found, "producer": float(await producer("peak", {})), "consumer": float(await consumer("peak", {}))}


async def publish(producer: Tool, rows: int, tool: str = "get_rows") -> str:
    """What the resource tool answers for a table."""
    return await producer(tool, {"rows": rows, "abstract_domains": DOMAINS})


def peak_mib(pid: int | str = "self") -> float:
    """Most memory that a process ever held, in MiB.

    From VmHWM, which starts anew with each program; `ru_maxrss` is inherited from the process that started it.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status names no VmHWM")

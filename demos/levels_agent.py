"""One phase of `levels`, in a process of its own: `python -m demos.levels_agent`.

It reads one JSON line with descriptors and a provider, carries them out, and prints one JSON line for each.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from broker_plane import Descriptor, Plane, parse_descriptor
from broker_plane.errors import BrokerPlaneError


async def play(job: Mapping[str, Any]) -> None:
    """Carry out all descriptors, one after the other."""
    async with Plane.connect() as plane:
        for fields in job["descriptors"]:
            descriptor = parse_descriptor(fields)
            path = Path(job["directory"]) / f"{job['phase']}-{descriptor.protocol}.csv"
            outcome = await _outcome(plane, descriptor, path, job["provider"])
            sys.stdout.buffer.write(orjson.dumps(outcome, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()


async def _outcome(plane: Plane, descriptor: Descriptor, path: Path, provider: str) -> dict[str, Any]:
    began = perf_counter()
    try:
        done = await plane.levels.run(descriptor, path, provider=provider)
    except BrokerPlaneError as error:
        return {"protocol": descriptor.protocol, "error": f"{error.code}: {error}"}
    counted = done.input_tokens is not None and done.output_tokens is not None
    return {
        "protocol": descriptor.protocol,
        "level": done.level,
        "provider_calls": done.provider_calls,
        "tokens": (done.input_tokens or 0) + (done.output_tokens or 0) if counted or not done.provider_calls else None,
        "ms": round((perf_counter() - began) * 1000, 1),
        "bytes": done.bytes,
        "rung": done.rung or "",
    }


def main() -> int:
    line = sys.stdin.buffer.readline()
    if line:
        with suppress(KeyboardInterrupt):  # the parent process reports it
            asyncio.run(play(orjson.loads(line)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

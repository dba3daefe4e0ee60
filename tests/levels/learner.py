"""A process that carries out a descriptor: `… tests.levels.learner NATS_URL BUCKETS ENDPOINT OUTPUT CALLS GATE`.

Its provider appends a line to the file CALLS for each call, and answers once the file GATE exists. It prints a line
when it begins, and the outcome.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from broker_plane.config import load_settings
from broker_plane.levels.ports import Generated
from broker_plane.runtime.wiring import wire
from broker_plane.testing.processes import until
from tests.levels.api import GOOD, describe, plant

CLAIM_SECONDS = 2


class GatedWriter:
    name = "gated"

    def __init__(self, calls: Path, gate: Path) -> None:
        self._calls = calls
        self._gate = gate

    async def generate(self, prompt: str) -> Generated:
        with self._calls.open("a") as calls:
            calls.write(f"{os.getpid()}\n")
        await until(self._gate.exists, "the gate")
        return Generated(GOOD)


async def main(nats_url: str, buckets: str, endpoint: str, output: str, calls: str, gate: str) -> None:
    wiring = await wire(nats_url, load_settings(nats_url=nats_url))
    try:
        planted = plant(wiring.connection, buckets, claim_seconds=CLAIM_SECONDS)
        await planted.cache.get("0" * 64)  # the bucket exists
        print(json.dumps("begins"), flush=True)
        transfers = planted.transfers(GatedWriter(Path(calls), Path(gate)))
        outcome = await transfers.carry_out(describe(endpoint), Path(output))
        print(json.dumps({"level": outcome.level, "calls": outcome.provider_calls}), flush=True)
    finally:
        await wiring.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

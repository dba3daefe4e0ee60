"""Many consumers in one process, each with a grant of its own and nothing else: `python -m tests.faults.crowd`.

Says that it is ready, takes one line of input (where NATS and the bridge are, each consumer's address and way), lets
all of them pull at once, and says how that ended. What is pulled is hashed and not kept.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from hashlib import sha256
from time import perf_counter
from typing import Any

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.pulls import Via
from broker_plane.testing.processes import memory


async def pulled(settings: Settings, address: str, via: Via) -> str:
    """The SHA-256 of what came, or the name of the error: every consumer is a plane of its own."""
    digest = sha256()
    try:
        async with Plane.connect(settings) as guest, guest.pulls.open(address, via=via) as incoming:
            async for piece in incoming.pieces:
                digest.update(piece)
    except BrokerPlaneError as error:
        return f"{via}: {type(error).__name__}: {error} ({error.reason})"
    return digest.hexdigest()


async def main(job: dict[str, Any]) -> dict[str, Any]:
    settings = load_settings(nats_url=job["nats"], bridge_url=job["bridge"], role="guest")
    began = perf_counter()
    ends = await asyncio.gather(*(pulled(settings, address, via) for address, via in job["consumers"]))
    return {"ends": Counter(ends), "seconds": perf_counter() - began, "memory": memory()["VmHWM"]}


if __name__ == "__main__":
    print(json.dumps({"ready": True}), flush=True)
    print(json.dumps(asyncio.run(main(json.loads(sys.stdin.readline())))), flush=True)

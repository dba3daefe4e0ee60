"""kill -9 of a bridge while it notes: its last second may be missing, what is older is there, and no grant is in it."""

from __future__ import annotations

from time import time

import pytest

from broker_plane import Plane
from broker_plane.broker.direct import batch
from broker_plane.config import load_settings
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.plane_names import Names
from tests.faults.conftest import Stage

pytestmark = pytest.mark.anyio
LOST_SECONDS = 1.5
"""What docs/audit.md says, a second, and the time in which that second's batch is being written."""


async def test_a_killed_bridge_loses_at_most_its_last_second(
    nats_server: NatsServer, stage: Stage, wiring: Wiring
) -> None:
    actor = stage.run("broker_plane.cli.bridge", nats_url=nats_server.url)
    bridge = str((await actor.said())["bridge"])
    async with Plane.connect(load_settings(nats_url=nats_server.url, bridge_url=bridge)) as plane:
        published = await plane.publish(b"body", uses="unlimited")
        urls = [url for _, url in await plane.grants.mint_many(published.body.id, 50, uses="unlimited")]
        ends: list[float] = []

        async def pulled() -> int:
            return sum(entry.what == "pulled" for entry in await plane.bodies.audit(published.body.id))

        async def pull_on() -> bool:
            for url in urls:
                assert await plane.pull(url, via="http") == b"body"
                ends.append(time())
            return await pulled() >= 3 * len(urls) and ends[0] < time() - 2 * LOST_SECONDS

        await until(pull_on, "some batches to be written", 30)
        actor.kill()
        killed = time()
        due = sum(end < killed - LOST_SECONDS for end in ends)
        assert due <= await pulled() <= len(ends)
        assert due > 0
    request = {"batch": 10_000, "seq": 1, "next_by_subj": "bp.audit.>"}
    raw = b"".join([message.data async for message in batch(wiring.connection, Names().audit_stream, request)])
    for url in [published.resource_url, *urls]:
        grant = url.rpartition("/")[2].encode()
        assert not any(grant[start : start + 20] in raw for start in range(len(grant) - 20))

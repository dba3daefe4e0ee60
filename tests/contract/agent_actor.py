"""An agent of its own process: announces a table, makes a presigned descriptor for each client, and refuses some."""

from __future__ import annotations

import asyncio
import sys

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import SelectorError
from broker_plane.plane.announcements.negotiation import AgentRequest
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.exact_json import dumps


async def main(nats_url: str, agent_id: str) -> None:
    async with Plane.connect(load_settings(nats_url=nats_url)) as plane:

        async def make(request: AgentRequest) -> Descriptor | None:
            table = request.about.get("table")
            if table == "bug":
                raise RuntimeError("the password is hunter2")
            if table == "slow":
                await asyncio.sleep(3600)
            if table != "customers":
                raise SelectorError(f"There is no table {table!r:.20}")
            published = await plane.publish([{"id": 1}, {"id": 2}], ttl=60)
            return published.descriptor()

        profile = {
            "agent_id": agent_id,
            "serves": [{"protocol_id": "http", "endpoint": plane.bridge_url, "formats": ["application/json"]}],
            "ttl": 60,
        }
        async with plane.agents.announce(profile, make_descriptor=make) as announcement:
            print(dumps(announcement.to_wire()).decode(), flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

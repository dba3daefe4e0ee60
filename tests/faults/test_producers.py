"""Producers that are killed while they put: nobody ever reads a part of it, and its chunks go by their time to live."""

from __future__ import annotations

import pytest

from broker_plane.testing.processes import until
from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
TTL = 3


@pytest.mark.parametrize("count", [3, pytest.param(50, marks=pytest.mark.full)])
async def test_killed_producers_leave_no_body_and_after_its_time_to_live_no_byte(home: Home, count: int) -> None:
    async with home.connect() as plane, home.wired() as wiring:
        kept = await plane.publish(b"kept" * 1000, ttl=600)

        async def stored() -> int:
            state = (await wiring.connection.api("STREAM.INFO.OBJ_bp_local"))["state"]
            return int(state["bytes"])

        before, most = await stored(), 0
        for _ in range(0, count, 3):
            producers = [home.act("put", TTL) for _ in range(3)]
            for producer in producers:
                while (await producer.said())["sent"] < 2_000_000:
                    pass
            most = max(most, await stored() - before)
            for producer in producers:
                producer.kill()
            assert await plane.bodies.list() == [kept.body]

        async def gone() -> bool:
            return await stored() == before

        assert most >= 2_000_000
        await until(gone, "the chunks to be gone", seconds=30)
        print(f"\n{count} producers killed: {most:,} bytes of chunks at once, none left")
        assert await plane.bodies.list() == [kept.body]

"""Batched direct gets: everything comes, however much it is, within the connection's budget of reads."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest

from broker_plane.broker.direct import batch, sequence_of
from broker_plane.plane.fairness.admission import ByteBudget
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.layout import stream_config

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("count", "size", "asked"),
    [(1, 10, 1), (1, 10, 100), (12, 900_000, 256), (12, 900_000, 5), (300, 50_000, 256), (9, 500_000, 8), (0, 1, 7)],
)
async def test_a_batch_is_everything_that_was_asked_for(wiring: Wiring, count: int, size: int, asked: int) -> None:
    stream = f"T{uuid4().hex}"
    connection = wiring.connection
    await connection.api(f"STREAM.CREATE.{stream}", stream_config(connection, stream, [f"t.{stream}"], 64 << 20))
    try:
        for _ in range(count):
            await connection.store(f"t.{stream}", bytes(size))
        connection.reads = ByteBudget(8 << 20)

        async def read() -> list[int]:
            request = {"batch": asked, "seq": 1, "next_by_subj": f"t.{stream}"}
            async with aclosing(batch(connection, stream, request)) as messages:
                return [sequence_of(message) async for message in messages]

        wanted = list(range(1, min(count, asked) + 1))
        assert await asyncio.gather(*(read() for _ in range(6))) == [wanted] * 6
        assert 0 < connection.reads.most <= 8 << 20
        assert connection.reads.used == 0
    finally:
        await connection.api(f"STREAM.DELETE.{stream}")

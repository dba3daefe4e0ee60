"""The code cache over a real bucket: counts, drops, claims, and a bucket that is full."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from broker_plane.broker.connection import Connection
from broker_plane.levels.ports import CodeCounts
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import until
from broker_plane.wire.exact_json import dumps, loads
from tests.levels.api import Plant, entry, plant

pytestmark = pytest.mark.anyio
KEY, OTHER = "a" * 64, "b" * 64


async def test_an_entry_has_the_counts_of_all_processes(planted: Plant) -> None:
    cache = planted.cache
    assert await cache.get(KEY) is None
    await cache.missed(KEY)
    saved = entry(KEY, "x = 1\n")
    await cache.save(saved)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(cache.succeeded, saved)
    await cache.failed(saved)
    found = await cache.get(KEY)
    assert found is not None
    assert (found.source, found.counts) == ("x = 1\n", CodeCounts(5, 1, 1, 1))
    await cache.succeeded(saved)
    assert [each.counts async for each in cache.entries()] == [CodeCounts(6, 1, 1, 0)]
    assert await cache.get(OTHER) is None


async def test_code_that_fails_three_times_in_a_row_is_dropped(planted: Plant) -> None:
    cache, saved = planted.cache, entry(KEY, "x = 1\n")
    await cache.save(saved)
    await cache.failed(saved)
    await cache.failed(saved)
    await cache.succeeded(saved)
    for _ in range(2):
        await cache.failed(saved)
        assert await cache.get(KEY) is not None
    await cache.failed(saved)
    assert await cache.get(KEY) is None
    assert [each async for each in cache.entries()] == []


async def test_failures_of_old_code_do_not_drop_its_successor(planted: Plant) -> None:
    cache, old = planted.cache, entry(KEY, "x = 1\n", made_at=1)
    await cache.save(old)
    await cache.failed(old)
    await cache.failed(old)
    await cache.save(entry(KEY, "x = 2\n", made_at=2))
    for _ in range(3):
        await cache.failed(old)
    found = await cache.get(KEY)
    assert found is not None
    assert found.source == "x = 2\n"


async def test_an_entry_counts_only_under_its_own_key(planted: Plant) -> None:
    """Nobody who writes to the bucket turns code of one endpoint into that of another by a copy."""
    await planted.cache.save(entry(KEY, "x = 1\n"))
    raw, _ = await planted.code.load(f"code.{KEY}")
    assert raw is not None
    await planted.code.save(f"code.{OTHER}", raw, 0)
    assert await planted.cache.get(OTHER) is None
    assert [each.key async for each in planted.cache.entries()] == [KEY]


@pytest.mark.parametrize("fields", [{"format": 2}, {"source": 5}, {"made_at": "now"}])
async def test_what_another_version_wrote_is_no_entry_and_is_replaced(planted: Plant, fields: dict[str, Any]) -> None:
    await planted.cache.save(entry(KEY, "x = 1\n"))
    raw, revision = await planted.code.load(f"code.{KEY}")
    await planted.code.save(f"code.{KEY}", dumps(loads(raw or b"") | fields), revision)
    assert await planted.cache.get(KEY) is None
    await planted.cache.save(entry(KEY, "x = 2\n"))
    assert (await planted.cache.get(KEY)) is not None


async def test_forgetting_removes_code_and_counts(planted: Plant) -> None:
    await planted.cache.missed(KEY)
    await planted.cache.save(entry(KEY, "x = 1\n"))
    assert await planted.cache.forget(KEY)
    assert not await planted.cache.forget(KEY)
    assert [name async for name, _, _ in planted.code.entries()] == []


async def test_one_task_has_the_claim_and_the_others_wait_for_its_end(planted: Plant) -> None:
    order: list[object] = []

    async def other() -> None:
        async with planted.cache.claimed(KEY) as claimed:
            order.append(claimed)

    async with anyio.create_task_group() as group, planted.cache.claimed(KEY) as claimed:
        group.start_soon(other)
        async with planted.cache.claimed(OTHER) as independent:
            assert claimed
            assert independent
        await anyio.sleep(0.1)
        order.append("end")
    assert order == ["end", False]


async def test_a_claim_is_renewed_for_as_long_as_its_owner_lives(wiring: Wiring, buckets: str) -> None:
    planted = plant(wiring.connection, buckets, claim_seconds=1)
    held = True

    async def other() -> None:
        async with planted.cache.claimed(KEY):
            assert not held

    async with anyio.create_task_group() as group, planted.cache.claimed(KEY):
        _, first = await planted.code.load(f"claim.{KEY}")
        group.start_soon(other)

        async def renewed() -> bool:
            return (await planted.code.load(f"claim.{KEY}"))[1] >= first + 6  # it would have expired twice

        await until(renewed, "the claim to be renewed")
        held = False


async def test_a_full_bucket_ends_no_transfer(wiring: Wiring, buckets: str, caplog: pytest.LogCaptureFixture) -> None:
    planted = plant(wiring.connection, buckets)
    assert await planted.cache.get(KEY) is None
    await limit(wiring.connection, f"{buckets}_code", 4096)
    await planted.code.save("filler", bytes(3800), 0)
    with caplog.at_level(logging.WARNING, logger="broker_plane"):
        async with planted.cache.claimed(KEY) as claimed:
            assert claimed
            await planted.cache.save(entry(KEY, "x = 1\n" * 100))
            await planted.cache.missed(KEY)
    assert await planted.cache.get(KEY) is None
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "Code is generated without a claim, so that other processes may do so as well",
        "The code was not cached",
        "A miss was not counted",
    ]


async def limit(connection: Connection, bucket: str, max_bytes: int) -> None:
    """Give a bucket so little room."""
    info = await connection.api(f"STREAM.INFO.KV_{bucket}")
    await connection.api(f"STREAM.UPDATE.KV_{bucket}", info["config"] | {"max_bytes": max_bytes})

"""Key-value buckets: compare-and-set, listing, deletion, expiry, and waiting for a change."""

from __future__ import annotations

import secrets
import time

import anyio
import pytest

from broker_plane.errors import ConflictError
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.buckets import NatsBucket
from broker_plane.testing.processes import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def bucket(wiring: Wiring) -> NatsBucket:
    return NatsBucket(wiring.connection, f"bp_t{secrets.token_hex(4)}")


async def test_an_entry_is_changed_only_at_its_revision(bucket: NatsBucket) -> None:
    assert await bucket.load("a.b") == (None, 0)
    first = await bucket.save("a.b", b"1", 0)
    second = await bucket.save("a.b", b"2", first)
    for stale in (0, first):
        with pytest.raises(ConflictError):
            await bucket.save("a.b", b"3", stale)
        with pytest.raises(ConflictError):
            await bucket.delete("a.b", stale)
    assert await bucket.load("a.b") == (b"2", second)


async def test_entries_are_listed_without_the_deleted_and_expired(bucket: NatsBucket) -> None:
    kept = await bucket.save("a.kept", b"1", 0)
    await bucket.delete("a.gone", await bucket.save("a.gone", b"2", 0))
    await bucket.save("a.passing", b"3", 0, ttl_seconds=1)
    other = await bucket.save("b.other", b"4", 0)

    async def listed() -> bool:
        return [found async for found in bucket.entries()] == [("a.kept", b"1", kept), ("b.other", b"4", other)]

    await until(listed, "the passing entry to expire")
    assert [name async for name, _, _ in bucket.entries("a.*")] == ["a.kept"]
    assert (await bucket.load("a.gone"))[0] is None


async def test_a_change_ends_the_wait(bucket: NatsBucket) -> None:
    revision = await bucket.save("a", b"1", 0)
    seen: list[bytes | None] = []

    async def wait() -> None:
        seen.append((await bucket.changed("a", revision, 60))[0])

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.sleep(0.05)
        await bucket.save("a", b"2", revision)
    assert seen == [b"2"]
    assert await bucket.changed("a", 0, 60) == (b"2", revision + 1)  # it is another one already


async def test_an_expiry_ends_the_wait_and_so_does_the_time(bucket: NatsBucket) -> None:
    revision = await bucket.save("a", b"1", 0, ttl_seconds=1)
    assert (await bucket.changed("a", revision, 30))[0] is None
    kept = await bucket.save("b", b"1", 0)
    since = time.monotonic()
    assert await bucket.changed("b", kept, 0.2) == (b"1", kept)
    assert time.monotonic() - since < 5

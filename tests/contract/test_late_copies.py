"""The second copy of a grant's state: at once if a delivery has ended, a moment later if one has begun."""

from __future__ import annotations

from uuid import uuid4

import pytest

from broker_plane.broker.leader import newest
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.late_copies import LateCopies
from broker_plane.testing.processes import until

pytestmark = pytest.mark.anyio
TTL = 60
NEVER = 3600.0


async def copies_written(wiring: Wiring) -> int:
    """How many messages the stream of copies has stored in its life, this call's own one included."""
    names = wiring.connection.names
    return await wiring.connection.store(names.copy_subject(names.grants_bucket, "barrier"), b"", {"Bp-Revision": "1"})


async def copy_of(wiring: Wiring, key: str) -> bytes | None:
    names = wiring.connection.names
    subject = names.copy_subject(names.grants_bucket, key)
    found = await newest(wiring.connection, names.copy_stream(names.grants_bucket), subject)
    return found.data if found else None


async def test_a_delivery_that_ends_at_once_is_copied_once(wiring: Wiring) -> None:
    key, before = uuid4().hex, await copies_written(wiring)
    claimed = await wiring.states.save(key, b"claimed", 0, TTL, passing=True)
    await wiring.states.save(key, b"ended", claimed, TTL)
    await wiring.states.close()
    assert await copies_written(wiring) == before + 2
    assert await copy_of(wiring, key) == b"ended"


async def test_a_claim_is_copied_while_its_delivery_lasts(wiring: Wiring) -> None:
    key = uuid4().hex
    await wiring.states.save(key, b"claimed", 0, TTL, passing=True)
    await until(lambda: copy_of(wiring, key), "the copy of a claim")
    assert await copy_of(wiring, key) == b"claimed"


async def test_a_late_copy_never_replaces_a_newer_one(wiring: Wiring) -> None:
    bucket = wiring.connection.names.grants_bucket
    key, slow = uuid4().hex, LateCopies(wiring.connection, bucket, seconds=NEVER)
    slow.copy_late(key, b"claimed", 5, TTL)
    other = LateCopies(wiring.connection, bucket)
    other.copy(key, b"ended", 6, TTL)
    await other.close()
    await slow.close()
    await copies_written(wiring)
    assert await copy_of(wiring, key) == b"ended"


async def test_what_is_waiting_is_copied_when_the_process_ends(wiring: Wiring) -> None:
    key, slow = uuid4().hex, LateCopies(wiring.connection, wiring.connection.names.grants_bucket, seconds=NEVER)
    slow.copy_late(key, b"claimed", 5, TTL)
    await slow.close()
    await copies_written(wiring)
    assert await copy_of(wiring, key) == b"claimed"

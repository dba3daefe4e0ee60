"""The BodyStore port: what every store of bodies does, on a real nats-server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from hashlib import sha256
from time import time

import nats
import pytest
from msgspec.structs import replace

from broker_plane.config import Settings
from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    ConflictError,
    DigestMismatchError,
    StoreFullError,
    TooLargeError,
)
from broker_plane.plane.ports import Draft, Shape
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.bodies import NatsBodyStore
from broker_plane.storage.putting import CHUNK_BYTES, ONE_MESSAGE_BYTES
from broker_plane.testing.server import NatsServer, eventually
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import BodyId, body_id
from broker_plane.wire.plane_names import Names

pytestmark = pytest.mark.anyio
SIZES = [0, 1, CHUNK_BYTES, ONE_MESSAGE_BYTES - 1, ONE_MESSAGE_BYTES, ONE_MESSAGE_BYTES + 1, 3 * CHUNK_BYTES, 5_000_001]


def draft(ttl: int = 60, owner: str = "local") -> Draft:
    return Draft(
        id=body_id(os.urandom(16)),
        owner=owner,
        kind="bytes",
        media_type="application/octet-stream",
        created=time(),
        expires=int(time()) + ttl,
    )


async def put(store: NatsBodyStore, raw: bytes, made: Draft | None = None, step: int = 300_000) -> BodyInfo:
    async with store.writer(made or draft()) as writer:
        for start in range(0, len(raw), step):
            await writer.write(raw[start : start + step])
        return await writer.commit(Shape())


async def get(store: NatsBodyStore, body: BodyInfo, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.read(body, start, stop)])


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_put_is_read_whatever_its_size(wiring: Wiring, size: int) -> None:
    raw = os.urandom(size)
    body = await put(wiring.store, raw)
    assert await get(wiring.store, body) == raw
    assert (body.size, body.digest) == (size, sha256(raw).hexdigest())
    assert await wiring.store.info("local", body.id) == body


async def test_any_range_of_a_body_is_those_bytes(wiring: Wiring) -> None:
    raw = os.urandom(3 * CHUNK_BYTES + 17)
    body = await put(wiring.store, raw)
    edges = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, len(raw) - 1, len(raw)]
    for start in edges:
        for stop in edges:
            if start <= stop:
                assert await get(wiring.store, body, start, stop) == raw[start:stop]


async def test_bodies_that_are_written_at_once_do_not_mix(wiring: Wiring) -> None:
    raws = [os.urandom(2_000_000) for _ in range(2)]
    async with wiring.store.writer(draft()) as first, wiring.store.writer(draft()) as second:
        for start in range(0, 2_000_000, 100_000):
            await first.write(raws[0][start : start + 100_000])
            await second.write(raws[1][start : start + 100_000])
        bodies = [await first.commit(Shape()), await second.commit(Shape())]
    assert all(len(body.runs) > 1 for body in bodies)
    for raw, body in zip(raws, bodies, strict=True):
        assert await get(wiring.store, body) == raw
        assert await get(wiring.store, body, 600_000, 1_500_000) == raw[600_000:1_500_000]


async def test_any_other_client_reads_a_body_as_an_object(wiring: Wiring, settings: Settings) -> None:
    raw = os.urandom(1_500_000)
    body = await put(wiring.store, raw)
    client = await nats.connect(settings.nats_url)
    try:
        objects = await client.jetstream().object_store("bp_local")
        assert (await objects.get(body.id)).data == raw
    finally:
        await client.close()


async def stored_messages(wiring: Wiring, subject: str) -> int:
    state = (await wiring.connection.api("STREAM.INFO.OBJ_bp_local", {"subjects_filter": subject}))["state"]
    return sum((state.get("subjects") or {}).values())


async def test_a_put_that_breaks_leaves_nothing(wiring: Wiring) -> None:
    made = draft()
    with pytest.raises(RuntimeError, match="the source broke"):
        async with wiring.store.writer(made) as writer:
            await writer.write(os.urandom(2_000_000))
            raise RuntimeError("the source broke")
    with pytest.raises(BodyNotFoundError):
        await wiring.store.info("local", made.id)
    assert await stored_messages(wiring, Names().chunk_subject("local", made.id)) == 0


async def test_a_put_that_is_not_committed_leaves_nothing(wiring: Wiring) -> None:
    made = draft()
    async with wiring.store.writer(made) as writer:
        await writer.write(os.urandom(2_000_000))
    assert await stored_messages(wiring, Names().chunk_subject("local", made.id)) == 0


async def test_a_body_is_committed_once(wiring: Wiring) -> None:
    made = draft()
    body = await put(wiring.store, b"first", made)
    with pytest.raises(ConflictError):
        await put(wiring.store, b"second", made)
    assert (await wiring.store.info("local", made.id)).digest == body.digest


async def test_a_chunk_that_is_gone_is_lost_at_once_and_never_a_short_success(wiring: Wiring) -> None:
    body = await put(wiring.store, os.urandom(5_000_000))
    await wiring.connection.api("STREAM.MSG.DELETE.OBJ_bp_local", {"seq": body.runs[0][0] + 3})
    with pytest.raises(BodyLostError):
        await get(wiring.store, body)


async def test_a_chunk_that_somebody_forged_is_never_read(wiring: Wiring) -> None:
    raw = os.urandom(1_200_000)
    body = await put(wiring.store, raw)
    await wiring.connection.store(Names().chunk_subject("local", body.id), b"forged")
    assert await get(wiring.store, body) == raw


async def test_bytes_that_were_replaced_below_the_store_are_a_digest_mismatch(wiring: Wiring) -> None:
    body = await put(wiring.store, b"the real bytes")
    sequence = await wiring.connection.store(
        Names().chunk_subject("local", body.id), b"other, forged!", {"Nats-Rollup": "sub"}
    )
    lie = replace(body, runs=((sequence, 1),))
    with pytest.raises(DigestMismatchError):
        await get(wiring.store, lie)
    with pytest.raises(BodyLostError):
        await get(wiring.store, body)


async def test_an_incomplete_read_looks_incomplete(wiring: Wiring) -> None:
    body = await put(wiring.store, os.urandom(3_000_000))
    wrong = replace(body, digest="0" * 64)
    got = 0
    with pytest.raises(DigestMismatchError):
        async with aclosing(wiring.store.read(wrong)) as pieces:
            async for piece in pieces:
                got += len(piece)
    assert got < body.size


async def test_a_body_above_the_limit_is_refused_and_not_kept(settings: Settings) -> None:
    wiring = await wire(settings.nats_url, replace(settings, max_body_bytes=1_000_000))
    made = draft()
    try:
        with pytest.raises(TooLargeError, match="1000000"):
            await put(wiring.store, os.urandom(1_500_000), made)
        assert await stored_messages(wiring, Names().chunk_subject("local", made.id)) == 0
    finally:
        await wiring.close()


async def test_a_deleted_body_is_gone_with_its_bytes(wiring: Wiring) -> None:
    body = await put(wiring.store, os.urandom(2_000_000))
    await wiring.store.delete("local", body.id)
    with pytest.raises(BodyNotFoundError):
        await wiring.store.info("local", body.id)
    assert await stored_messages(wiring, Names().chunk_subject("local", body.id)) == 0
    with pytest.raises(BodyNotFoundError):
        await wiring.store.delete("local", body.id)


async def test_the_list_has_every_body_and_no_other_object(wiring: Wiring) -> None:
    bodies = [await put(wiring.store, b"x", draft()) for _ in range(300)]
    await wiring.connection.store(Names().meta_subject("local", BodyId("somebody-elses-object")), b'{"name": "x"}')
    listed = [body.id async for body in wiring.store.list("local")]
    assert set(listed) >= {body.id for body in bodies}
    assert len(listed) == len(set(listed))


async def test_a_full_store_keeps_nothing_of_what_did_not_fit(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = NatsServer(tmp_path_factory.mktemp("small"), store_bytes=600 << 20)
    server.start()
    settings = Settings(nats_url=server.url)
    wiring = await wire(server.url, settings)
    try:
        kept = await put(wiring.store, os.urandom(1_500_000))
        made = draft()
        with pytest.raises(StoreFullError, match="full"):
            async with wiring.store.writer(made) as writer:
                for _ in range(700):
                    await writer.write(bytes(1_000_000))
                await writer.commit(Shape())
        assert await stored_messages(wiring, Names().chunk_subject("local", made.id)) == 0
        assert len(await get(wiring.store, kept)) == kept.size
    finally:
        await wiring.close()
        server.stop()


@pytest.fixture
async def expired(wiring: Wiring) -> AsyncIterator[BodyInfo]:
    yield await put(wiring.store, b"short-lived", draft(ttl=1))


async def test_an_expired_body_frees_itself(wiring: Wiring, expired: BodyInfo) -> None:
    subject = Names().meta_subject("local", expired.id)

    async def freed() -> bool:
        return not await stored_messages(wiring, subject)

    await eventually(freed)
    with pytest.raises(BodyNotFoundError):
        await wiring.store.info("local", expired.id)

"""Bytes that change or go below the store: an error within bounds, never wrong bytes, and never a reader that hangs."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from broker_plane import Plane
from broker_plane.broker.connecting import connect
from broker_plane.config import load_settings
from broker_plane.errors import BodyLostError, BrokerPlaneError, BrokerUnavailableError
from broker_plane.storage.putting import CHUNK_BYTES
from broker_plane.tabular.codec import FrameReader
from broker_plane.tabular.rows import encode_rows
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.plane_names import Names
from broker_plane.wire.selector import WHOLE
from tests.faults.conftest import Stage

pytestmark = pytest.mark.anyio
Via = Literal["http", "nats"]
BOUND_SECONDS = 30
ROWS = [{"number": number, "text": os.urandom(60).hex()} for number in range(30_000)]
BODIES: list[Any] = [b"small" * 100, os.urandom(900_000), os.urandom(4_000_000), ROWS]
Damage = Callable[[Path, random.Random], None]


def flip(block: Path, chance: random.Random) -> None:
    raw = bytearray(block.read_bytes())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    block.write_bytes(raw)


def truncate(block: Path, chance: random.Random) -> None:
    os.truncate(block, chance.randrange(block.stat().st_size))


@pytest.fixture
async def plane(own_server: NatsServer, stage: Stage) -> AsyncIterator[Plane]:
    """With a bridge that remembers no body, so that each is read from the store."""
    bridge = await stage.bridge(own_server, cache_bytes=0)
    async with Plane.connect(load_settings(nats_url=own_server.url, bridge_url=bridge)) as plane:
        yield plane


async def answers(plane: Plane) -> bool:
    with suppress(BrokerUnavailableError):
        return bool(await plane.health.ready())
    return False


async def pull(plane: Plane, url: str, via: Via, **selector: Any) -> Any:
    """What came, or the error's code; within bounds."""
    with anyio.fail_after(BOUND_SECONDS):
        try:
            return await plane.pull(url, via=via, **selector)
        except BrokerPlaneError as error:
            return error.code


@pytest.mark.parametrize("damage", [flip, truncate])
@pytest.mark.parametrize("rounds", [5, pytest.param(40, marks=pytest.mark.full)])
async def test_a_store_that_was_damaged_while_the_server_was_down_never_gives_wrong_bytes(
    plane: Plane, own_server: NatsServer, tmp_path: Path, damage: Damage, rounds: int
) -> None:
    urls = [(await plane.publish(body, uses="unlimited")).resource_url for body in BODIES]
    numbers = [row["number"] for row in ROWS]
    own_server.kill()
    store, good = tmp_path / "jetstream", tmp_path / "good"
    store.rename(good)
    chance = random.Random(7)
    codes: Counter[str] = Counter()
    for _ in range(rounds):
        shutil.copytree(good, store)
        damage(chance.choice(sorted(store.glob("**/OBJ_bp_local/**/*.blk"))), chance)
        own_server.start()
        await until(partial(answers, plane), "the plane to be connected again")
        for url, body in zip(urls, BODIES, strict=True):
            for got in (await pull(plane, url, "http"), await pull(plane, url, "nats")):
                assert got == body or isinstance(got, str)
                codes[got if isinstance(got, str) else "right"] += 1
        got = await pull(plane, urls[-1], "nats", columns=["number"])
        assert isinstance(got, str) or [row["number"] for row in got] == numbers
        own_server.kill()
        shutil.rmtree(store)
    print(f"\n{rounds} rounds of {damage.__name__}: {dict(codes)}")
    assert codes["right"] and len(codes) > 1


async def replace_last_chunk(plane: Plane, server: NatsServer, body: BodyInfo) -> None:
    """As somebody could who writes to the stream itself."""
    subject = Names().chunk_subject(body.owner, body.id)
    connection = await connect(server.url, timeout=5)
    try:
        chunk = await connection.api("STREAM.MSG.GET.OBJ_bp_local", {"last_by_subj": subject})
        await connection.api("STREAM.MSG.DELETE.OBJ_bp_local", {"seq": chunk["message"]["seq"]})
        await connection.store(subject, bytes(body.size % CHUNK_BYTES))
    finally:
        await connection.close()


@pytest.mark.parametrize("via", ["http", "nats"])
async def test_a_chunk_that_was_replaced_on_the_stream_is_an_error(
    plane: Plane, own_server: NatsServer, via: Via
) -> None:
    for body in BODIES[:3]:
        published = await plane.publish(body, uses=1)
        await replace_last_chunk(plane, own_server, published.body)
        with anyio.fail_after(BOUND_SECONDS), pytest.raises(BodyLostError):
            await plane.pull(published.resource_url, via=via)


def test_rows_that_were_damaged_decode_or_are_an_error_of_ours_and_nothing_else() -> None:
    raw = b"".join(encode_rows(ROWS[:2_000]))
    chance = random.Random(11)
    refused = 0
    for number in range(2_000):
        damaged = bytearray(raw)
        # Half of the damage goes to the first header, where names and sizes stand.
        damaged[chance.randrange((len(raw), 150)[number % 2])] ^= 1 << chance.randrange(8)
        try:
            for frame in FrameReader().feed(bytes(damaged)):
                frame.decode(WHOLE)
        except BrokerPlaneError:
            refused += 1
    assert refused > 1_000

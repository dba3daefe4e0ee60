"""The state of grants and the keys, damaged below the store: nothing that was used or revoked opens again."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.embedded.damaged_blocks import named_block, set_aside
from broker_plane.errors import EmbeddedError
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.grant import grant_of
from tests.faults.conftest import Stage
from tests.faults.test_damage import flip, truncate
from tests.figures import Figure

pytestmark = pytest.mark.anyio
Damage = Callable[[Path, random.Random], None]
BOUND_SECONDS = 30.0


def empty(block: Path, chance: random.Random) -> None:
    block.write_bytes(b"")


def cut_the_tail(block: Path, chance: random.Random) -> None:
    """The last entries alone: what they replaced is still there."""
    os.truncate(block, max(0, block.stat().st_size - chance.randrange(1, 4000)))


def flip_many(block: Path, chance: random.Random) -> None:
    for _ in range(8):
        flip(block, chance)


def remove(block: Path, chance: random.Random) -> None:
    block.unlink()


def remove_stream(block: Path, chance: random.Random) -> None:
    shutil.rmtree(block.parents[1])


def overwrite(block: Path, chance: random.Random) -> None:
    size = block.stat().st_size
    start = chance.randrange(size)
    with block.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(min(512, size - start)))


def break_header_length(block: Path, chance: random.Random) -> None:
    """nats-server does not start with that."""
    raw = bytearray(block.read_bytes())
    headers = [found.start() for found in re.finditer(rb"NATS/1\.0\r\n", raw)]
    raw[chance.choice(headers) - 1] ^= 0x80
    block.write_bytes(raw)


def start(server: NatsServer) -> None:
    """As a supervisor does: where nats-server does not start with a damaged file, without that."""
    while True:
        try:
            server.start()
        except EmbeddedError:
            lines = (server.root / "server.log").read_text().splitlines()
            stream, block = [named for line in lines if (named := named_block(line))][-1]
            assert set_aside(server.root / "jetstream", stream, block, server.root / "damaged")
        else:
            return


DAMAGES: list[Damage] = [
    break_header_length,
    flip,
    truncate,
    cut_the_tail,
    flip_many,
    overwrite,
    empty,
    remove,
    remove_stream,
]


def full(damage: Damage) -> Any:
    return pytest.param(damage, marks=pytest.mark.full)


@dataclass
class Given:
    """Grants by what became of them."""

    used: list[str]
    revoked: list[str]
    unused: list[str]

    @staticmethod
    async def out(plane: Plane, count: int) -> Given:
        body = (await plane.publish(b"a body" * 100, ttl=3600)).body.id
        used = [url for _, url in await plane.grants.mint_many(body, count, uses=1)]
        for url in used:
            await plane.pull(url)
        revoked = [url for _, url in await plane.grants.mint_many(body, count, uses=1)]
        revoked += [url for _, url in await plane.grants.mint_many(body, count, uses="unlimited")]
        for url in revoked:
            await plane.revoke(url)
        return Given(used, revoked, [url for _, url in await plane.grants.mint_many(body, count, uses=1)])


async def answers(bridge: str, urls: list[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    async with httpx2.AsyncClient(timeout=BOUND_SECONDS) as client:
        for url in urls:
            answer = await client.get(f"{bridge}/s2sp/data/{grant_of(url)}")
            found[answer.json()["code"] if answer.status_code >= 400 else "opened"] += 1
    return found


async def ready(bridge: str) -> bool:
    async with httpx2.AsyncClient() as client:
        return bool((await client.get(f"{bridge}/readyz")).status_code == 200)


def blocks(store: Path, stream: str) -> list[Path]:
    return sorted(store.glob(f"**/{stream}/msgs/*.blk"))


@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.full)])
async def test_a_damaged_grant_state_opens_nothing_that_was_used_or_revoked(
    own_server: NatsServer, stage: Stage, tmp_path: Path, rounds: int, figure: Figure
) -> None:
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        given = await Given.out(plane, 8)
    own_server.kill()
    store, good = tmp_path / "jetstream", tmp_path / "good"
    store.rename(good)
    chance = random.Random(5)
    opened = done = 0
    slowest = 0.0
    for damage in DAMAGES * rounds:
        shutil.copytree(good, store)
        damage(chance.choice(blocks(store, "KV_bp_grants")), chance)
        start(own_server)
        bridge = await stage.bridge(own_server)
        begun = monotonic()
        for urls, code in ((given.used, "grant_used"), (given.revoked, "grant_revoked"), (given.unused, "opened")):
            got = await answers(bridge, urls)
            assert got == {code: len(urls)}, (damage.__name__, got)
        slowest = max(slowest, monotonic() - begun)
        stage.close()
        own_server.kill()
        shutil.rmtree(store)
        done += 1
    figure(
        "damaged grant state",
        f"{done} damages: {opened} of {len(given.used + given.revoked)} opened again, all answers in {slowest:.2f} s",
        aim="0 opened again, answered within 1 s",
        met=not opened,
    )


@pytest.mark.parametrize("damage", [cut_the_tail, *(full(each) for each in (flip_many, empty, remove_stream))])
async def test_a_bridge_that_lives_through_the_damage_trusts_nothing_before_it_has_compared(
    own_server: NatsServer, stage: Stage, tmp_path: Path, damage: Damage
) -> None:
    bridge = await stage.bridge(own_server)
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        given = await Given.out(plane, 10)
        own_server.kill()
        damage(blocks(tmp_path / "jetstream", "KV_bp_grants")[-1], random.Random(3))
        own_server.start()
        await until(lambda: ready(bridge), "the bridge to be connected again")
        assert await answers(bridge, given.used) == {"grant_used": 10}
        assert await answers(bridge, given.revoked) == {"grant_revoked": 20}
        more = await Given.out(plane, 5)
        assert await answers(bridge, more.used + more.revoked) == {"grant_used": 5, "grant_revoked": 10}


@pytest.mark.parametrize("damage", [truncate, remove_stream, *(full(each) for each in (flip_many, empty, remove))])
@pytest.mark.parametrize("copy", [False, True], ids=["bucket", "bucket and copy"])
async def test_lost_keys_are_restored_or_said_to_be_lost_and_never_replaced_unasked(
    own_server: NatsServer, stage: Stage, tmp_path: Path, damage: Damage, copy: bool
) -> None:
    async with Plane.connect(load_settings(nats_url=own_server.url)) as plane:
        url = (await plane.publish(b"body", uses="unlimited")).resource_url
    own_server.kill()
    for stream in ("KV_bp_keys", *(["BP_KEYS_COPY"] if copy else [])):
        (block,) = blocks(tmp_path / "jetstream", stream)
        damage(block, random.Random(1))
    own_server.start()
    bridge = await stage.bridge(own_server)
    assert await answers(bridge, [url]) == ({"keys_lost": 1} if copy else {"opened": 1})
    async with Plane.connect(load_settings(nats_url=own_server.url, bridge_url=bridge)) as plane:
        if copy:
            assert not await ready(bridge)
            with pytest.raises(Exception, match="keys rotate") as refused:
                await plane.publish(b"another", uses="unlimited")
            assert getattr(refused.value, "code", "") == "keys_lost"
            await plane.keys.rotate()
        fresh = (await plane.publish(b"another", uses="unlimited")).resource_url
        await until(lambda: ready(bridge), "the bridge to be ready")
        assert await answers(bridge, [fresh]) == {"opened": 1}

"""Notices under kill -9 of the subscriber and of nats-server: none is lost, effects happen once, order by key holds."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import BrokerUnavailableError
from broker_plane.plane.feeds.effects import EffectLog
from broker_plane.plane.feeds.retention import Retention
from broker_plane.testing.server import NatsServer
from tests.faults.conftest import Stage

pytestmark = pytest.mark.anyio
FEED, DURABLE = "crm.contacts", "email"
KEYS = 10


async def test_kills_lose_no_notice_and_repeat_no_effect(own_server: NatsServer, stage: Stage, tmp_path: Path) -> None:
    await killed(own_server, stage, tmp_path, notices=300, subscriber_kills=2, server_kills=1)


@pytest.mark.full
async def test_thirty_kills_lose_none_of_ten_thousand_notices(
    own_server: NatsServer, stage: Stage, tmp_path: Path
) -> None:
    await killed(own_server, stage, tmp_path, notices=10_000, subscriber_kills=20, server_kills=10)


async def killed(
    server: NatsServer, stage: Stage, root: Path, *, notices: int, subscriber_kills: int, server_kills: int
) -> None:
    settings = load_settings(nats_url=server.url, data_dir=root, bridge_url="http://127.0.0.1:1")
    expected: dict[int, list[int]] = {}
    async with Plane.connect(settings) as plane:
        publishing = asyncio.create_task(_publish(plane, notices, expected))
        ends = [(at, "subscriber") for at in _spread(notices, subscriber_kills)]
        ends += [(at, "server") for at in _spread(notices, server_kills)]
        deliveries = await _subscribe(server, stage, sorted(ends), notices)
        await publishing
        ledger = EffectLog(plane.feeds.adapters.entries, DURABLE)
        found = {key: await ledger.read(f"contact-{key}") for key in range(KEYS)}
        letters = await plane.feeds.dead_letters()
    lost = sum(len(set(expected[key]) - set(found[key] or [])) for key in expected)
    repeated = sum(len(found[key] or []) - len(set(found[key] or [])) for key in expected)
    turned = sum(a >= b for key in expected for a, b in pairwise(found[key] or []))
    print(
        f"\n{notices} notices, {subscriber_kills} kills of the subscriber, {server_kills} of nats-server: "
        f"{lost} lost, {repeated} effects repeated, {turned} out of order, {deliveries} handled, {len(letters)} dead"
    )
    assert found == expected
    assert not letters


async def _publish(plane: Plane, notices: int, expected: dict[int, list[int]]) -> None:
    rows = [{"id": key, "n": key, "note": f"contact {key} has a note of its own"} for key in range(KEYS)]
    expected.update({key: [key] for key in range(KEYS)})
    for number in range(KEYS, KEYS + notices):
        if number > KEYS:
            rows[number % KEYS] = rows[number % KEYS] | {"n": number}
            expected[number % KEYS].append(number)
        await _publish_once(plane, rows)


async def _publish_once(plane: Plane, rows: list[dict[str, Any]]) -> None:
    while True:
        try:
            # Doing it again is safe: the same rows are the same version.
            await plane.publish(rows, feed=FEED, key="id", retention=Retention(versions=100_000))
            return
        except BrokerUnavailableError:
            await asyncio.sleep(0.05)


async def _subscribe(server: NatsServer, stage: Stage, ends: list[tuple[int, str]], notices: int) -> int:
    """Run the subscriber up to the last version, with an end for somebody at each of `ends`; how many it handled."""
    environment = {"nats_url": server.url, "bridge_url": "http://127.0.0.1:1"}
    subscriber = stage.run("tests.faults.subscriber", FEED, DURABLE, **environment)
    version = handled = 0
    while version < notices:
        version = await subscriber.said(60)
        handled += 1
        while ends and version >= ends[0][0]:
            if ends.pop(0)[1] == "server":
                server.kill()
                server.start()
            else:
                subscriber.kill()
                subscriber = stage.run("tests.faults.subscriber", FEED, DURABLE, **environment)
    return handled


def _spread(notices: int, count: int) -> list[int]:
    return [notices * place // (count + 1) for place in range(1, count + 1)]

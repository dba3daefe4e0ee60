"""Readers that come at once, over HTTP and NATS and two bridges: as many get the body as the grant has uses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx2
import msgpack
import pytest

from broker_plane.broker.connection import Connection
from broker_plane.client import http
from broker_plane.client.http import HttpPuller
from broker_plane.errors import (
    BrokerUnavailableError,
    GrantInUseError,
    GrantUsedError,
    LeaseLostError,
    TransferInterruptedError,
)
from broker_plane.plane.bodies.publish import PublishOrder, StoredBody
from broker_plane.plane.grants.state import unpack_state
from broker_plane.plane.ports import Puller
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.entries import NatsEntryStore
from broker_plane.subjects import pull
from broker_plane.subjects.puller import NatsPuller
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.grant import unseal
from broker_plane.wire.presigned import parse_pull_confirmation
from broker_plane.wire.selector import WHOLE
from tests.faults.actor import digest_of
from tests.faults.conftest import Stage
from tests.faults.http_reader import get
from tests.trusting import TRUSTING

pytestmark = pytest.mark.anyio
MORE_ROUNDS = 10
Reader = tuple[Puller, str]
"""A puller, and the base of the addresses that it takes."""


@pytest.fixture
async def bridges(nats_server: NatsServer, stage: Stage) -> list[str]:
    return [await stage.bridge(nats_server), await stage.bridge(nats_server)]


class Readers:
    """Readers of their own names: over HTTP at each of the bridges by turns, and over NATS."""

    def __init__(self, wiring: Wiring, bridges: list[str], stack: AsyncExitStack, *, patience: float = 5) -> None:
        self._wiring = wiring
        self._patience = patience
        self._bridges = bridges
        self._stack = stack

    def over_http(self, count: int) -> list[Reader]:
        return [self._http(self._bridges[number % len(self._bridges)]) for number in range(count)]

    def over_nats(self, count: int) -> list[Reader]:
        connection, patience = self._wiring.connection, self._patience
        return [(NatsPuller(connection, f"reader{n}", retry_seconds=patience), "bp.pull.") for n in range(count)]

    def _http(self, bridge: str) -> Reader:
        puller = HttpPuller(TRUSTING)
        self._stack.push_async_callback(puller.close)
        return puller, f"{bridge}/s2sp/data/"


@pytest.fixture
async def readers(wiring: Wiring, bridges: list[str]) -> AsyncIterator[Readers]:
    async with AsyncExitStack() as stack:
        yield Readers(wiring, bridges, stack)


async def publish(wiring: Wiring, uses: int) -> StoredBody:
    return await wiring.publisher.publish(os.urandom(2_500_000), PublishOrder(ttl=120, uses=uses))


async def read(reader: Reader, grant: str) -> bytes:
    puller, base = reader
    async with puller.pull(base + grant, WHOLE) as incoming:
        return b"".join([piece async for piece in incoming.pieces])


async def done(wiring: Wiring, grant: str) -> int:
    """Completed deliveries, as the grant's state says."""
    grant_id = unseal(grant, await wiring.keys.sealing()).id
    raw, _ = await NatsEntryStore(wiring.connection).load(grant_id)
    return unpack_state(raw)[""].done if raw else 0


@pytest.mark.parametrize(("over_http", "over_nats"), [(5, 0), (0, 5), (3, 2)], ids=["http", "nats", "mixed"])
async def test_five_readers_at_once_get_a_body_of_five_uses_and_a_sixth_does_not(
    wiring: Wiring, bridges: list[str], readers: Readers, over_http: int, over_nats: int
) -> None:
    published = await publish(wiring, uses=5)
    five = readers.over_http(over_http) + readers.over_nats(over_nats)
    got = await asyncio.gather(*(read(reader, published.grant) for reader in five))
    assert [digest_of(raw) for raw in got] == [published.body.digest] * 5
    assert await done(wiring, published.grant) == 5
    for sixth in readers.over_http(2) + readers.over_nats(1):
        with pytest.raises(GrantUsedError):
            await read(sixth, published.grant)
    for bridge in bridges:
        assert (await get(f"{bridge}/s2sp/data/{published.grant}")).status == 410


@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=pytest.mark.full)])
async def test_of_64_racers_over_two_bridges_and_both_ways_exactly_one_is_confirmed(
    wiring: Wiring, readers: Readers, rounds: int
) -> None:
    racers = readers.over_http(32) + readers.over_nats(32)
    for _ in range(rounds):
        published = await publish(wiring, uses=1)
        ends = await asyncio.gather(*(read(racer, published.grant) for racer in racers), return_exceptions=True)
        won = [end for end in ends if isinstance(end, bytes)]
        assert [digest_of(raw) for raw in won] == [published.body.digest]
        assert {type(end) for end in ends if end not in won} <= {GrantUsedError, GrantInUseError}
        assert await done(wiring, published.grant) == 1


async def reached(wiring: Wiring, grant: str, moment: str) -> bool:
    """Whether somebody has a lease on the grant, or has confirmed it."""
    grant_id = unseal(grant, await wiring.keys.sealing()).id
    raw, _ = await NatsEntryStore(wiring.connection).load(grant_id)
    return raw is not None and (moment == "claimed" or unpack_state(raw)[""].done > 0)


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The leases of which a reader was told that its success is confirmed, on either way."""
    leases: set[str] = set()
    over_nats, over_http = Connection.request, httpx2.AsyncClient.post

    async def request(self: Connection, subject: str, payload: bytes = b"", *args: Any, **options: Any) -> Any:
        answer = await over_nats(self, subject, payload, *args, **options)
        if subject.startswith("bp.confirm.") and "error" not in msgpack.unpackb(answer.data):
            confirmation = parse_pull_confirmation(payload)
            leases.update([confirmation.lease] if confirmation.success else [])
        return answer

    async def post(self: httpx2.AsyncClient, url: str, **options: Any) -> Any:
        response = await over_http(self, url, **options)
        if url.endswith("/confirm") and response.json().get("status") == "confirmed":
            leases.add(options["json"]["lease"])
        return response

    monkeypatch.setattr(Connection, "request", request)
    monkeypatch.setattr(httpx2.AsyncClient, "post", post)
    return leases


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.full)])
async def test_of_racers_whose_bridge_is_killed_meanwhile_never_two_are_confirmed(
    wiring: Wiring,
    nats_server: NatsServer,
    stage: Stage,
    acknowledged: set[str],
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
) -> None:
    """By turns before and after the confirmation of the first: what readers were told, the audit, the grant's state."""
    # A loser need not try for as long as it would.
    monkeypatch.setattr(pull, "_ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(http, "_PATIENCE_SECONDS", 1.0)
    survivor = await stage.bridge(nats_server)
    winners = confirmations = number = 0
    # In a round whose victim had the use, nobody may hear of a success.
    while number < rounds or not (winners and confirmations):
        assert number < rounds + MORE_ROUNDS, "no reader was told of its success"
        victim = stage.run("broker_plane.cli.bridge", nats_url=nats_server.url)
        bridges = [survivor, str((await victim.said())["bridge"])]
        published = await publish(wiring, uses=1)
        async with AsyncExitStack() as stack:
            readers = Readers(wiring, bridges, stack, patience=1)
            racers = readers.over_http(32) + readers.over_nats(32)
            racing = [asyncio.create_task(read(racer, published.grant)) for racer in racers]
            moment = ("claimed", "confirmed")[number % 2]
            await until(partial(reached, wiring, published.grant, moment), f"the use to be {moment}")
            victim.kill()
            ends = await asyncio.gather(*racing, return_exceptions=True)
        won = [end for end in ends if isinstance(end, bytes)]
        winners += len(won)
        assert {digest_of(raw) for raw in won} <= {published.body.digest}
        refused = (GrantUsedError, GrantInUseError, BrokerUnavailableError, TransferInterruptedError, LeaseLostError)
        assert [end for end in ends if not isinstance(end, (bytes, *refused))] == []
        assert len(acknowledged) <= await done(wiring, published.grant) <= 1
        confirmations += len(acknowledged)
        acknowledged.clear()
        noted = [entry.what async for entry in wiring.audit.read() if entry.body == published.body.id]
        assert noted.count("confirmed") <= 1
        number += 1

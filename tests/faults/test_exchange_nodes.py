"""Three nodes: durable requests are answered once, in order, when the leader of a stream dies."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack

import pytest

from broker_plane.errors import BrokerUnavailableError
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.plane.exchanges.ports import Asked
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.testing.processes import until
from tests.faults.three_nodes import ThreeNodes

pytestmark = pytest.mark.anyio
PATIENCE = 120
REQUESTS = 60
STEPS = 5


@pytest.fixture
async def wirings(nodes: ThreeNodes) -> AsyncIterator[list[Wiring]]:
    """Those of a caller and two servers, on different nodes."""
    nodes.start()  # one may have been killed
    async with AsyncExitStack() as stack:
        found = []
        for numbers in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            settings = nodes.settings(*numbers)
            found.append(await wire(settings.nats_url, settings))
            stack.push_async_callback(found[-1].close)
        yield found


class Silent:
    """A carrier without a quick way to the caller."""

    async def said(self, asked: Asked, said: Said) -> None: ...

    async def alive(self, asked: Asked) -> None: ...


async def counting(asked: Asked) -> AsyncGenerator[bytes, None]:
    for number in range(1, STEPS + 1):
        await asyncio.sleep(0.05)
        params = {"progressToken": 1, "progress": number}
        yield json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).encode()
    yield json.dumps({"jsonrpc": "2.0", "id": json.loads(asked.line)["id"], "result": {}}).encode()


@pytest.mark.full
@pytest.mark.parametrize("stream", ["BP_MCP", "BP_MCP_SAID"])
async def test_the_death_of_a_leader_loses_and_repeats_nothing(
    nodes: ThreeNodes, wirings: list[Wiring], stream: str
) -> None:
    store = NatsExchanges(wirings[0].connection)
    workers = [
        asyncio.create_task(
            ExchangeWorker(
                NatsExchanges(each.connection), "s", "n", counting, Silent(), now=each.connection.clock.now
            ).run()
        )
        for each in wirings[1:]
    ]
    keys = []
    async with asyncio.timeout(PATIENCE):
        for number in range(REQUESTS):
            keys.append(await ask(store))
            if number == REQUESTS // 2:
                await until(lambda: store.last(keys[0]), "the first message", PATIENCE)
                (await nodes.leader(stream)).kill()
        for key in keys:
            found = await answered(store, key)
            assert [said.seq for said in found] == list(range(1, STEPS + 2)), found
            assert json.loads(found[-1].line) == {"jsonrpc": "2.0", "id": key.exchange, "result": {}}
    for task in workers:
        await cancel_and_forget(task)


async def ask(store: NatsExchanges) -> ExchangeKey:
    key = ExchangeKey("s", f"n{secrets.token_hex(16)}", secrets.token_hex(16))
    line = json.dumps({"jsonrpc": "2.0", "id": key.exchange, "method": "tools/call", "params": {}}).encode()
    while True:
        try:
            await store.ask(key, line, {}, 600)
            return key
        except BrokerUnavailableError:
            await asyncio.sleep(0.1)


async def answered(store: NatsExchanges, key: ExchangeKey) -> list[Said]:
    while True:
        try:
            if (found := await store.messages(key)) and found[-1].last:
                return found
        except BrokerUnavailableError:
            pass
        await asyncio.sleep(0.05)

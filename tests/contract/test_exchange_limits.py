"""Durable requests at their limits: full streams, attempts, lost consumers, and very many that wait."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from broker_plane.broker.connecting import connect
from broker_plane.broker.connection import Connection
from broker_plane.errors import StoreFullError
from broker_plane.exchange.headers import CANCELLED
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.plane.exchanges.ports import Asked, Claim, Run
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.testing.processes import memory, until
from broker_plane.testing.server import NatsServer

pytestmark = pytest.mark.anyio
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}'
ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{}}'
SECONDS = 60


class Silent:
    async def said(self, asked: Asked, said: Said) -> None: ...

    async def alive(self, asked: Asked) -> None: ...


@asynccontextmanager
async def working(connection: Connection, run: Run, server: str, at_once: int = 8) -> AsyncIterator[ExchangeWorker]:
    store, now = NatsExchanges(connection), connection.clock.now
    worker = ExchangeWorker(store, server, "n", run, Silent(), now=now, at_once=at_once)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await cancel_and_forget(task)


@pytest.mark.parametrize("tells", [True, False])
async def test_a_client_that_has_its_share_leaves_places_to_others(wiring: Wiring, tells: bool) -> None:
    store, server, gate = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}", asyncio.Event()
    flooder, refused = f"n{secrets.token_hex(16)}", list[ExchangeKey]()

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        if asked.key.session == flooder:
            await gate.wait()
        yield ANSWER

    async def turn_away(asked: Asked) -> None:
        refused.append(asked.key)

    worker = ExchangeWorker(
        store,
        server,
        "n",
        run,
        Silent(),
        now=wiring.connection.clock.now,
        at_once=8,
        turn_away=turn_away if tells else None,
        stalled_seconds=0.01,
    )
    flood = [ExchangeKey(server, flooder, secrets.token_hex(16)) for _ in range(50)]
    bystander = new_key(server)
    for key in (*flood, bystander):
        await store.ask(key, CALL, {}, 600)
    task = asyncio.create_task(worker.run())
    assert (await last_of(store, bystander)).line == ANSWER
    await until(lambda: len(worker) == 4, "the rest to wait", SECONDS)
    if tells:
        await until(lambda: len(refused) == 46, "the others to be turned away", SECONDS)
        assert await store.find(refused[0]) is None  # so that it can be made again
    gate.set()
    for key in flood[:4]:
        assert (await last_of(store, key)).line == ANSWER
    await cancel_and_forget(task)


async def answering(asked: Asked) -> AsyncGenerator[bytes, None]:
    yield ANSWER


def new_key(server: str) -> ExchangeKey:
    return ExchangeKey(server, f"n{secrets.token_hex(16)}", secrets.token_hex(16))


async def last_of(store: NatsExchanges, key: ExchangeKey) -> Said:
    async def answered() -> list[Said]:
        found = await store.messages(key)
        return found if found and found[-1].last else []

    found: list[Said] = await until(answered, "an answer", SECONDS)
    return found[-1]


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Connection]:
    """A broker with little room: 4 MiB for requests, and as much for messages."""
    server = NatsServer(tmp_path, store_bytes=64 << 20)
    server.start()
    connection = await connect(server.url, timeout=5)
    connection.store_bytes = 64 << 20
    yield connection
    await connection.close()
    server.stop()


async def test_requests_that_use_up_their_room_are_refused_and_the_stored_ones_answered(small: Connection) -> None:
    store, keys = NatsExchanges(small), []
    line = CALL[:-1] + b',"x":"' + b"x" * 100_000 + b'"}'
    with pytest.raises(StoreFullError):
        for _ in range(1000):
            keys.append(new_key("s"))
            await store.ask(keys[-1], line, {}, 600)
    assert len(keys) > 5
    cancelled = keys[-2]  # a cancellation needs no room, because it replaces its request
    subject = small.names.request_subject(cancelled.server, cancelled.session, cancelled.exchange)
    await small.store(subject, b'{"jsonrpc":"2.0","id":7}', {CANCELLED: "1", "Nats-TTL": "600s"})
    async with working(small, answering, "s"):
        for key in keys[:-2]:
            assert (await last_of(store, key)).line == ANSWER
        assert b"exchange_cancelled" in (await last_of(store, cancelled)).line
    await store.forget(keys[0])
    assert await store.ask(keys[-1], line, {}, 600)


async def test_a_stream_of_an_earlier_version_gets_the_limits_of_this_one(small: Connection) -> None:
    await NatsExchanges(small).ensure()
    config = (await small.api("STREAM.INFO.BP_MCP"))["config"]
    await small.api("STREAM.UPDATE.BP_MCP", config | {"max_age": 0, "max_msgs_per_subject": -1})
    await NatsExchanges(small).ensure()
    updated = (await small.api("STREAM.INFO.BP_MCP"))["config"]
    assert updated["max_age"] == config["max_age"] == 25 * 3600 * 10**9
    assert updated["max_msgs_per_subject"] == config["max_msgs_per_subject"] == 1


async def test_an_answer_waits_for_room(small: Connection) -> None:
    store, key = NatsExchanges(small), new_key("s")
    filling = [new_key("other") for _ in range(3)]
    for each, size in zip(filling, (500_000, 10_000, 10), strict=True):
        with pytest.raises(StoreFullError):
            for number in range(1, 100_000):
                await store.append(each, Said(number, bytes(size)), 600)
    await store.ask(key, CALL, {}, 600)
    async with working(small, answering, "s") as worker:
        await until(lambda: key in worker, "the request to be claimed")
        await store.forget(filling[0])
        assert (await last_of(store, key)).line == ANSWER


async def test_a_request_that_ends_its_process_again_and_again_is_given_up(wiring: Wiring) -> None:
    store, server = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}"
    deadly, excused = new_key(server), new_key(server)
    for key in (deadly, excused):
        await store.ask(key, CALL, {}, 600)
        for _ in range(5):  # each process that claims it ends
            async for asked, claim in store.asked(server, "n", lambda: 1):
                assert asked.key == key
                await claim.again()
                break
        if key == excused:
            await store.excuse(key, 600)
        async with working(wiring.connection, answering, server):
            said = await last_of(store, key)
        if key == deadly:
            assert json.loads(said.line)["error"]["data"] == {"code": "exchange_given_up"}
        else:
            assert said.line == ANSWER


async def test_what_is_answered_is_not_carried_out_again_when_the_consumer_is_lost(wiring: Wiring) -> None:
    store, server = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}"
    ran: list[ExchangeKey] = []

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        ran.append(asked.key)
        yield ANSWER

    keys = [new_key(server) for _ in range(3)]
    async with working(wiring.connection, run, server):
        for key in keys[:2]:
            await store.ask(key, CALL, {}, 600)
            await last_of(store, key)
        await wiring.connection.api(f"CONSUMER.DELETE.BP_MCP.ask_n_{server}")
        await store.ask(keys[2], CALL, {}, 600)
        await last_of(store, keys[2])
    assert ran == keys


async def test_a_request_ends_when_it_expires(wiring: Wiring) -> None:
    store, server = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}"
    key = new_key(server)

    async def hanging(asked: Asked) -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield ANSWER

    async with working(wiring.connection, hanging, server):
        await store.ask(key, CALL, {}, 1)
        said = await last_of(store, key)
    assert json.loads(said.line)["error"]["data"] == {"code": "exchange_deadline"}


@pytest.mark.full
async def test_ten_thousand_requests_that_wait_cost_no_memory_and_no_task(wiring: Wiring) -> None:
    store, server = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}"
    gate = asyncio.Event()

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        await gate.wait()
        yield ANSWER

    async with working(wiring.connection, run, server, at_once=4) as worker:
        await store.ensure()
        before, tasks = memory()["VmRSS"], len(asyncio.all_tasks())
        for _ in range(100):
            await asyncio.gather(*(store.ask(new_key(server), CALL, {}, 600) for _ in range(100)))
        await until(lambda: len(worker) == 4, "requests to run")
        assert len(asyncio.all_tasks()) - tasks <= 4 + 1
        assert memory()["VmRSS"] - before < 10 << 20
        gate.set()

        async def finished() -> bool:
            info = await wiring.connection.api(f"CONSUMER.INFO.BP_MCP.ask_n_{server}")
            return not info["num_pending"] and not info["num_ack_pending"]

        await until(finished, "all requests to be answered", 300)


async def test_cancellations_at_any_moment_leave_one_answer(wiring: Wiring) -> None:
    store, server, chance = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}", random.Random(3)

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        for number in range(3):
            await asyncio.sleep(chance.uniform(0, 0.02))
            yield b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%d}}' % number
        yield ANSWER

    async def ask_and_cancel(worker: ExchangeWorker) -> Said:
        key = new_key(server)
        await store.ask(key, CALL, {}, 600)
        if chance.random() < 0.2:
            await last_of(store, key)
        await asyncio.sleep(chance.uniform(0, 0.1))
        await asyncio.gather(*(worker.cancel(key) for _ in range(2)))
        last = await last_of(store, key)
        numbers = [said.seq for said in await store.messages(key)]
        assert numbers == list(range(1, last.seq + 1))
        return last

    async with working(wiring.connection, run, server, at_once=20) as worker:
        ends = await asyncio.gather(*(ask_and_cancel(worker) for _ in range(60)))
        await until(lambda: not len(worker), "everything to end")
    codes = {json.loads(said.line).get("error", {}).get("data", {}).get("code", "answered") for said in ends}
    assert codes == {"answered", "exchange_cancelled"}


@pytest.mark.full
async def test_an_answer_that_is_too_large_becomes_an_error(wiring: Wiring) -> None:
    store, server = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}"

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        yield b'{"jsonrpc":"2.0","id":7,"result":{"x":"' + b"x" * (65 << 20) + b'"}}'

    key = new_key(server)
    await store.ask(key, CALL, {}, 600)
    async with working(wiring.connection, run, server):
        said = await last_of(store, key)
    assert json.loads(said.line)["error"]["data"] == {"code": "too_large"}


async def test_long_requests_that_lost_their_processes_do_not_wait_for_one_another(wiring: Wiring) -> None:
    store, server, begun = NatsExchanges(wiring.connection), f"s{secrets.token_hex(6)}", asyncio.Event()
    count = 0

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        nonlocal count
        count += 1
        if count == 2:
            begun.set()
        await begun.wait()
        yield ANSWER

    keys = [new_key(server) for _ in range(2)]
    for key in keys:
        await store.ask(key, CALL, {}, 600)
    for _ in range(2):  # two processes have ended while both requests ran
        claims = [claim async for claim in first(2, store.asked(server, "n", lambda: 2))]
        for _, claim in claims:
            await claim.again()
    async with working(wiring.connection, run, server):
        for key in keys:
            assert (await last_of(store, key)).line == ANSWER


async def first(count: int, claims: AsyncGenerator[tuple[Asked, Claim], None]) -> AsyncIterator[tuple[Asked, Claim]]:
    async with aclosing(claims):
        for _ in range(count):
            yield await anext(claims)

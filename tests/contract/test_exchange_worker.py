"""Durable requests are carried out once, their messages stored in order, and answered whatever happens."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from broker_plane.errors import StorageError, UpstreamError
from broker_plane.exchange.headers import CANCELLED, DEADLINE
from broker_plane.exchange.lines import IDEMPOTENCY_KEY
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.exchange.retries import BackOff
from broker_plane.plane.exchanges.ports import Asked, Run
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.testing.server import eventually

pytestmark = pytest.mark.anyio
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"count"}}'
ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete"}}'
SECONDS = 60
"""For what takes less than five."""


class Caller:
    """The quick way to the caller: what arrives on it."""

    def __init__(self) -> None:
        self.heard: list[Said] = []
        self.lives = 0

    async def said(self, asked: Asked, said: Said) -> None:
        self.heard.append(said)

    async def alive(self, asked: Asked) -> None:
        self.lives += 1


class Place:
    """A server of one name, and a store of exchanges for it."""

    def __init__(self, wiring: Wiring) -> None:
        self.connection = wiring.connection
        self.store = NatsExchanges(wiring.connection)
        self.server = f"s{secrets.token_hex(6)}"
        self.caller = Caller()

    async def ask(self, line: bytes = CALL, *, seconds: float = 60, ttl: int = 120) -> ExchangeKey:
        key = ExchangeKey(self.server, f"n{secrets.token_hex(16)}", secrets.token_hex(16))
        deadline = {DEADLINE: f"{self.connection.clock.now() + seconds:.3f}"}
        assert await self.store.ask(key, line, deadline, ttl)
        return key

    @asynccontextmanager
    async def working(self, run: Run, **options: Any) -> AsyncIterator[ExchangeWorker]:
        worker = ExchangeWorker(
            NatsExchanges(self.connection), self.server, "n", run, self.caller, now=self.connection.clock.now, **options
        )
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await cancel_and_forget(task)

    async def answer(self, key: ExchangeKey) -> list[Said]:
        """All messages, once there is the answer."""

        async def answered() -> bool:
            last = await self.store.last(key)
            return last is not None and last.last

        await eventually(answered, SECONDS)
        return await self.store.messages(key)

    async def unfinished(self) -> int:
        """The number of requests that are not finished."""
        names = self.connection.names
        try:
            info = await self.connection.api(f"CONSUMER.INFO.{names.requests_stream}.ask_n_{self.server}")
        except StorageError:  # nobody has claimed yet
            return -1
        return int(info["num_ack_pending"]) + int(info["num_pending"])

    async def until_finished(self) -> None:
        async def finished() -> bool:
            return await self.unfinished() == 0

        await eventually(finished, SECONDS)


@pytest.fixture
def place(wiring: Wiring) -> Place:
    return Place(wiring)


def progress(number: float) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": number}}).encode()


def counting(most: int, then: bytes = ANSWER) -> Run:
    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        for number in range(1, most + 1):
            yield progress(number)
        yield then

    return run


def hanging(after: int, started: Callable[[], None] = lambda: None) -> Run:
    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        for number in range(1, after + 1):
            yield progress(number)
        started()
        await asyncio.Event().wait()

    return run


def code_of(said: Said) -> str:
    message = json.loads(said.line)
    assert message["id"] == 7
    return str(message["error"]["data"]["code"])


async def test_messages_are_stored_in_order_passed_on_and_the_request_is_finished(place: Place) -> None:
    keys = [await place.ask() for _ in range(20)]
    async with place.working(counting(3)):
        for key in keys:
            found = await place.answer(key)
            assert [(said.seq, said.last) for said in found] == [(1, False), (2, False), (3, False), (4, True)]
            assert found[-1].line == ANSWER
        await place.until_finished()
        assert len(place.caller.heard) == 80


async def test_a_tool_gets_an_idempotency_key_with_each_call(place: Place) -> None:
    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        meta = json.loads(asked.line)["params"]["_meta"]
        yield json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"key": meta[IDEMPOTENCY_KEY]}}).encode()

    own = json.dumps({"id": 7, "method": "tools/call", "params": {"_meta": {IDEMPOTENCY_KEY: "mine"}}}).encode()
    async with place.working(run):
        key, keyed = await place.ask(), await place.ask(own)
        assert json.loads((await place.answer(key))[0].line)["result"]["key"] == key.exchange
        assert json.loads((await place.answer(keyed))[0].line)["result"]["key"] == "mine"


async def test_a_worker_that_stops_gives_back_and_the_next_one_says_only_what_is_new(place: Place) -> None:
    key = await place.ask()
    hangs = asyncio.Event()
    async with place.working(hanging(2, hangs.set)) as worker:
        await asyncio.wait_for(hangs.wait(), SECONDS)
        assert key in worker
    assert await place.store.excuses(key) == 1
    async with place.working(counting(4)):
        found = await place.answer(key)
    assert [said.line for said in found] == [progress(1), progress(2), progress(3), progress(4), ANSWER]
    assert [said.seq for said in found] == [1, 2, 3, 4, 5]


async def test_no_more_runs_than_there_is_room_and_leases_are_kept(place: Place) -> None:
    running = most = 0

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        yield ANSWER

    keys = [await place.ask() for _ in range(30)]
    async with place.working(run, at_once=3):
        for key in keys:
            await place.answer(key)
    assert most == 3


async def test_a_lease_is_extended_while_a_request_runs(place: Place) -> None:
    place.store = NatsExchanges(place.connection, lease_seconds=0.5)
    attempts: list[int] = []

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        attempts.append(asked.attempt)
        await asyncio.sleep(2)
        yield ANSWER

    key = await place.ask()
    worker = [
        ExchangeWorker(
            place.store, place.server, "n", run, place.caller, now=place.connection.clock.now, lease_seconds=0.5
        )
        for _ in range(2)
    ]
    tasks = [asyncio.create_task(each.run()) for each in worker]
    await place.answer(key)
    for task in tasks:
        await cancel_and_forget(task)
    assert attempts == [1]


async def test_cancelling_ends_what_runs_and_what_waits(place: Place) -> None:
    hangs, closed = asyncio.Event(), asyncio.Event()

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        try:
            yield progress(1)
            hangs.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    running = await place.ask()
    async with place.working(run, at_once=1) as worker:
        await asyncio.wait_for(hangs.wait(), SECONDS)
        waiting = await place.ask()
        await worker.cancel(waiting)
        assert code_of((await place.answer(waiting))[-1]) == "exchange_cancelled"
        await worker.cancel(running)
        found = await place.answer(running)
        assert [code_of(found[-1]), found[-1].seq] == ["exchange_cancelled", 2]
        assert closed.is_set()
        await place.until_finished()
    assert len(await place.store.messages(waiting)) == 1


async def test_a_waiting_request_that_was_cancelled_is_not_carried_out_by_a_later_process(place: Place) -> None:
    ran: list[ExchangeKey] = []

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        ran.append(asked.key)
        yield ANSWER

    cancelled, other = await place.ask(), await place.ask()
    absent = ExchangeWorker(place.store, place.server, "n", run, place.caller, now=place.connection.clock.now)
    await absent.cancel(cancelled)
    unknown = ExchangeKey(place.server, f"n{secrets.token_hex(16)}", "x" * 16)
    await absent.cancel(unknown)
    assert await place.store.messages(unknown) == []
    async with place.working(run):
        await place.answer(other)
        await place.until_finished()
    assert ran == [other]


async def test_a_stored_cancellation_ends_its_request_whatever_became_of_it(place: Place) -> None:
    async def cancel(key: ExchangeKey) -> None:
        subject = place.connection.names.request_subject(key.server, key.session, key.exchange)
        await place.connection.store(subject, b'{"jsonrpc":"2.0","id":7}', {CANCELLED: "1", "Nats-TTL": "120s"})

    async def have_begun() -> bool:
        return all([await place.store.last(each) for each in (running, interrupted)])

    running, interrupted = await place.ask(), await place.ask()
    async with place.working(hanging(1)):
        await eventually(have_begun, SECONDS)
        await cancel(running)
        found = await place.answer(running)
        assert [code_of(found[-1]), found[-1].seq] == ["exchange_cancelled", 2]
    waiting = await place.ask()
    for key in (interrupted, waiting):
        await cancel(key)
    async with place.working(counting(1)):
        for key, seq in ((interrupted, 2), (waiting, 1)):
            found = await place.answer(key)
            assert [code_of(found[-1]), found[-1].seq] == ["exchange_cancelled", seq]
        await place.until_finished()


async def test_a_deadline_ends_what_runs_and_refuses_what_is_claimed_too_late(place: Place) -> None:
    late = await place.ask(seconds=-1)
    async with place.working(hanging(1)):
        running = await place.ask(seconds=0.5)
        for key in (late, running):
            assert code_of((await place.answer(key))[-1]) == "exchange_deadline"


async def test_a_server_that_ends_is_tried_again_five_times(place: Place) -> None:
    attempts: list[int] = []

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        attempts.append(asked.attempt)
        yield progress(asked.attempt)
        raise UpstreamError("The server's process ended before it answered")

    key = await place.ask()
    async with place.working(run, server_waits=BackOff(first_seconds=0.05)):
        found = await place.answer(key)
    assert attempts == [1, 2, 3, 4, 5]
    assert code_of(found[-1]) == "exchange_given_up"
    assert [said.seq for said in found] == [1, 2, 3, 4, 5, 6]


async def test_a_request_that_ends_the_server_does_not_fail_those_beside_it(place: Place) -> None:
    ended = asyncio.Event()

    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        nonlocal ended
        if b"poison" in asked.line:
            await asyncio.sleep(0.02)  # so that others run beside it
            ended.set()
            ended = asyncio.Event()
            raise UpstreamError("The server's process ended before it answered")
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.1)
            raise UpstreamError("The server's process ended before it answered")
        yield ANSWER

    poison = await place.ask(CALL.replace(b"count", b"poison"))
    innocent = [await place.ask() for _ in range(5)]
    async with place.working(run, server_waits=BackOff(first_seconds=0.05, longest_seconds=0.05)):
        assert code_of((await place.answer(poison))[-1]) == "exchange_given_up"
        for key in innocent:
            assert (await place.answer(key))[-1].line == ANSWER


async def test_a_request_that_nobody_claims_is_forgotten(place: Place) -> None:
    await place.ask()
    names = place.connection.names
    info = await place.connection.api(f"STREAM.INFO.{names.requests_stream}")
    assert info["config"]["max_age"] == 25 * 3600 * 10**9


async def test_a_server_that_fails_or_says_nothing_is_answered_for(place: Place) -> None:
    async def failing(asked: Asked) -> AsyncGenerator[bytes, None]:
        yield progress(1)
        raise ValueError("a secret of the server")

    async def silent(asked: Asked) -> AsyncGenerator[bytes, None]:
        yield progress(1)

    for run, code in ((failing, "exchange_failed"), (silent, "exchange_unanswered")):
        key = await place.ask()
        async with place.working(run):
            last = (await place.answer(key))[-1]
        assert code_of(last) == code
        assert b"secret" not in last.line


async def test_an_answer_that_was_stored_by_a_process_that_then_ended_is_passed_on(place: Place) -> None:
    key = await place.ask()
    await place.store.append(key, Said(1, ANSWER, last=True), 60)
    async with place.working(hanging(0)):
        await place.until_finished()
    assert place.caller.heard == [Said(1, ANSWER, last=True)]


async def test_a_carrier_that_fails_costs_nothing(place: Place) -> None:
    class Broken(Caller):
        async def said(self, asked: Asked, said: Said) -> None:
            raise OSError("gone")

    place.caller = Broken()
    key = await place.ask()
    async with place.working(counting(2)):
        assert len(await place.answer(key)) == 3


async def test_a_request_that_is_to_be_kept_for_ever_is_removed_when_it_is_answered(place: Place) -> None:
    key = ExchangeKey(place.server, f"n{secrets.token_hex(16)}", secrets.token_hex(16))
    subject = place.connection.names.request_subject(key.server, key.session, key.exchange)
    await place.store.last(key)  # the streams exist
    await place.connection.store(subject, CALL, {"Nats-TTL": "never"})
    async with place.working(counting(0)):
        await place.answer(key)

        async def removed() -> bool:
            return await place.store.find(key) is None

        await eventually(removed, SECONDS)

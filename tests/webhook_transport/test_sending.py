"""Stored messages reach callbacks in order, whatever the callbacks answer, and whichever process sends them."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from broker_plane.errors import BrokerUnavailableError, RateLimitedError
from broker_plane.plane.exchanges.ports import ExchangeKey, Said
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.buckets import NatsBucket
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.storage.outbox import NatsOutbox, NatsWakeups
from broker_plane.testing.processes import until
from broker_plane.transports.webhook.callbacks import Callbacks
from broker_plane.transports.webhook.deliveries import CallbackDeliveries, DeliveredTo
from broker_plane.transports.webhook.outstanding import MOST_OUTSTANDING, OutstandingRequests
from broker_plane.transports.webhook.positions import Positions
from broker_plane.transports.webhook.record import Callback, WebhookSession
from broker_plane.transports.webhook.sender import CallbackSender
from broker_plane.transports.webhook.sending_rules import SendingRules
from broker_plane.transports.webhook.sessions import WebhookSessions
from tests.webhook_transport.world import Place, callback, guarded, posting

pytestmark = pytest.mark.anyio

QUICK = SendingRules(first_seconds=0.05, longest_seconds=0.1, deadline_seconds=60.0)


class Bucket(NatsBucket):
    """A bucket of which writes of positions may fail."""

    failures = 0

    async def save(self, name: str, entry: bytes, revision: int, ttl_seconds: int = 0) -> int:
        if self.failures and name.endswith(".position") and b'"sent":0' not in entry:
            self.failures -= 1
            raise BrokerUnavailableError("NATS does not answer")
        return await super().save(name, entry, revision, ttl_seconds)


@dataclass
class Front:
    """What a front has for its sessions, of one process."""

    wiring: Wiring
    callbacks: Callbacks
    server: str
    rules: SendingRules
    others: list[Front] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.exchanges = NatsExchanges(self.wiring.connection)
        self.bucket = Bucket(self.wiring.connection, self.wiring.connection.names.mcp_sessions_bucket)
        self.sessions = WebhookSessions(
            self.bucket, self.server, self.callbacks, seconds=600, now=time.time, random_bytes=secrets.token_bytes
        )
        self.positions = Positions(self.bucket, self.server, uuid4().hex, alive, self.ask, seconds=600, now=time.time)
        self.deliveries = CallbackDeliveries(
            self.sessions,
            self.callbacks,
            OutstandingRequests(self.exchanges, NatsOutbox(self.wiring.connection), self.tell),
            self.close,
        )
        self.sender: CallbackSender[DeliveredTo] = CallbackSender(
            NatsWakeups(self.wiring.connection, self.exchanges, self.server, "w"),
            NatsOutbox(self.wiring.connection),
            self.positions,
            self.deliveries,
            self.server,
            rules=self.rules,
            now=time.time,
            random=random.random,
        )

    async def tell(self, key: ExchangeKey) -> None:
        """No other process counts requests here."""

    async def close(self, session: str, callback: Callback) -> bool:
        return await self.sessions.close(session, callback) is not None

    async def ask(self, holder: str, session: str) -> None:
        """As a front asks the one that holds the position of a session."""
        for each in self.others:
            each.sender.wake(session)

    async def say(self, session: WebhookSession, exchange: str, *numbers: int) -> None:
        for number in numbers:
            line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%d}}' % number
            await self.exchanges.append(ExchangeKey(self.server, session.id, exchange), Said(number, line), 600)


async def alive(holder: str) -> bool:
    return True


@asynccontextmanager
async def sending(front: Front) -> AsyncIterator[CallbackSender[DeliveredTo]]:
    task = asyncio.create_task(front.sender.run())
    try:
        yield front.sender
    finally:
        await cancel_and_forget(task)


@pytest.fixture
async def callbacks() -> AsyncIterator[Callbacks]:
    async with posting(guarded()) as made:
        yield made


@pytest.fixture
def rules() -> SendingRules:
    return QUICK


@pytest.fixture
def front(wiring: Wiring, callbacks: Callbacks, rules: SendingRules) -> Front:
    return Front(wiring, callbacks, uuid4().hex, rules)


def ids(place: Place) -> list[str]:
    return [str(message_id).split(":", 1)[1] for message_id, _ in place.channel.taken]


async def arrived(place: Place, count: int) -> None:
    await until(lambda: len(place.channel.taken) >= count, f"{count} messages at the callback")


async def test_messages_arrive_in_the_order_in_which_they_were_stored(front: Front) -> None:
    async with callback() as place, sending(front):
        session = await front.sessions.open(place.url, place.channel.secret)
        await front.say(session, "a", 1, 2)
        await front.say(session, "b", 1)
        await front.say(session, "a", 3)
        await arrived(place, 4)
        assert ids(place) == ["a:1", "a:2", "b:1", "a:3"]


async def test_a_callback_without_room_gets_the_message_again_and_later_ones_wait_for_it(front: Front) -> None:
    async with callback() as place:
        session = await front.sessions.open(place.url, place.channel.secret)
        place.channel.room = False
        async with sending(front):
            await front.say(session, "a", 1, 2, 3)
        # The sender may have been stopped at any point.
        async with sending(front):
            await until(lambda: place.channel.refused > 2, "refusals")
            place.channel.room = True
            await arrived(place, 3)
        assert ids(place) == ["a:1", "a:2", "a:3"]


@pytest.mark.parametrize("rules", [SendingRules(first_seconds=600.0)])
async def test_a_session_that_waits_for_its_callback_keeps_no_coroutine(front: Front) -> None:
    async with callback() as place, sending(front):
        session = await front.sessions.open(place.url, place.channel.secret)
        await front.say(session, "a", 1)
        await arrived(place, 1)
        place.channel.room = False
        await front.say(session, "a", 2)
        await until(lambda: place.channel.refused == 1, "a refusal")
        await front.say(session, "a", 3, 4)
        await until(lambda: not front.sender.busy, "no task of the session")
        assert not [task for task in asyncio.all_tasks() if "_send_all" in repr(task)]
        place.channel.room = True
        front.sender.wake(session.id)  # its client has shown itself
        await arrived(place, 4)
        assert ids(place) == ["a:1", "a:2", "a:3", "a:4"]


async def test_messages_go_to_the_latest_callback(front: Front) -> None:
    async with callback("one") as one, callback("two") as two, sending(front):
        session = await front.sessions.open(one.url, one.channel.secret)
        one.channel.room = False
        await front.say(session, "a", 1)
        await until(lambda: one.channel.refused, "a refusal")
        await front.sessions.called_back_at(session, two.url, two.channel.secret)
        await arrived(two, 1)
        assert one.channel.taken == []


async def test_two_processes_send_each_message_once_and_in_order(front: Front) -> None:
    other = Front(front.wiring, front.callbacks, front.server, QUICK, [front])
    front.others.append(other)
    async with callback() as place, sending(front), sending(other):
        session = await front.sessions.open(place.url, place.channel.secret)
        for number in range(1, 41):
            await front.say(session, "a", number)
        await arrived(place, 40)
        assert ids(place) == [f"a:{number}" for number in range(1, 41)]


@pytest.mark.parametrize("rules", [SendingRules(first_seconds=0.05, deadline_seconds=0.2)])
async def test_a_message_past_its_deadline_is_skipped_named_in_the_log_and_stays_stored(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="broker_plane")
    async with callback() as place:
        session = await front.sessions.open(place.url, place.channel.secret)
        place.channel.room = False
        async with sending(front):
            await front.say(session, "a", 1)
            await until(lambda: dead(front, session), "a dead letter")
            place.channel.room = True
            await front.say(session, "a", 2)
            await arrived(place, 1)
        assert ids(place) == ["a:2"]
        stored = [
            each.said.seq async for each in NatsOutbox(front.wiring.connection).after(front.server, session.id, 0)
        ]
        assert stored == [1, 2]
        assert f"Message 1 of exchange a of {front.server} could not be sent in time" in caplog.text


@pytest.mark.parametrize("rules", [SendingRules(first_seconds=0.05, deadline_seconds=0.2)])
async def test_a_dead_letter_is_noted_also_if_the_broker_does_not_answer_in_between(front: Front) -> None:
    async with callback() as place, sending(front):
        session = await front.sessions.open(place.url, place.channel.secret)
        place.channel.room = False
        front.bucket.failures = 2
        await front.say(session, "a", 1)
        await until(lambda: dead(front, session), "a dead letter")
        assert not front.bucket.failures


async def dead(front: Front, session: WebhookSession) -> int:
    return (await front.positions.find(session.id)).dead


async def test_a_callback_that_is_gone_closes_its_session(front: Front) -> None:
    async with callback() as place, sending(front):
        session = await front.sessions.open(place.url, place.channel.secret)
        place.receiver.end("here")
        await front.say(session, "a", 1)
        await until(lambda: closed(front, session), "the end of the session")


async def test_an_earlier_callback_that_is_gone_closes_nothing(front: Front) -> None:
    async with callback("one") as one, callback("two") as two:
        before = await front.sessions.open(one.url, one.channel.secret)
        await front.sessions.called_back_at(before, two.url, two.channel.secret)
        await front.deliveries.gone(before)
        assert not await closed(front, before)
        async with sending(front):
            await front.say(before, "a", 1)
            await arrived(two, 1)


async def test_exchanges_do_not_wait_for_each_other_and_each_of_them_is_in_order(front: Front) -> None:
    async with callback() as place:
        session = await front.sessions.open(place.url, place.channel.secret)
        await front.say(session, "a", 1)
        for exchange in ("b", "c", "d", "e", "f"):
            await front.say(session, exchange, 1, 2, 3)
        place.held.clear()
        place.free = 3
        async with sending(front):
            await until(lambda: place.under_way == 5, "a message of each exchange under way")
            place.held.set()
            await arrived(place, 16)
        for exchange in ("b", "c", "d", "e", "f"):
            assert [each for each in ids(place) if each.startswith(exchange)] == [f"{exchange}:{n}" for n in (1, 2, 3)]


async def closed(front: Front, session: WebhookSession) -> bool:
    return await front.sessions.find(session.id) is None


async def test_slow_callbacks_do_not_delay_the_messages_of_others(front: Front) -> None:
    async with callback() as slow, callback() as place, sending(front):
        sessions = [await front.sessions.open(slow.url, slow.channel.secret) for _ in range(20)]
        slow.held.clear()
        for each in sessions:
            await front.say(each, "a", 1, 2)
        await until(lambda: slow.under_way == 20, "each slow callback to have a message, and no more than that")
        session = await front.sessions.open(place.url, place.channel.secret)
        await front.say(session, "a", 1, 2)
        await arrived(place, 2)
        assert (slow.under_way, slow.channel.taken) == (20, [])
        slow.held.set()


@pytest.mark.parametrize("rules", [SendingRules(first_seconds=600.0)])
async def test_a_client_that_shows_itself_at_another_process_does_not_wait(front: Front) -> None:
    other = Front(front.wiring, front.callbacks, front.server, front.rules, [front])
    async with callback() as place, sending(front):
        session = await front.sessions.open(place.url, place.channel.secret)
        place.channel.room = False
        await front.say(session, "a", 1)
        await until(lambda: place.channel.refused == 1, "a refusal")
        await until(lambda: not front.sender.busy, "the wait after it")
        await front.say(session, "b", 1)  # it waits behind the other
        place.channel.room = True
        async with sending(other):
            other.sender.wake(session.id)
            await arrived(place, 2)
        assert sorted(ids(place)) == ["a:1", "b:1"]


async def test_a_request_counts_until_any_process_has_sent_its_answer(front: Front) -> None:
    async def nobody(key: ExchangeKey) -> None:
        """This process hears of it, and has none to tell."""

    async def to_acceptor(key: ExchangeKey) -> None:
        acceptor.answered_elsewhere(key)

    outbox = NatsOutbox(front.wiring.connection)
    acceptor = OutstandingRequests(front.exchanges, outbox, nobody)
    sender = OutstandingRequests(front.exchanges, outbox, to_acceptor)
    keys = [ExchangeKey(front.server, "wS", f"x{number}") for number in range(MOST_OUTSTANDING)]
    assert all(acceptor.add(key) for key in keys)
    assert not acceptor.add(keys[0]), "a repeated request counts once"
    with pytest.raises(RateLimitedError):
        acceptor.check("wS")
    acceptor.check("wT")
    await sender.answered(keys[0], accepted=True)
    acceptor.check("wS")


async def test_a_message_in_parts_arrives_whole(front: Front) -> None:
    async with callback() as place, sending(front):
        session = await front.sessions.open(place.url, place.channel.secret)
        line = b'{"jsonrpc":"2.0","id":1,"result":{"text":"' + b"x" * (3 << 20) + b'"}}'
        await front.exchanges.append(ExchangeKey(front.server, session.id, "a"), Said(1, line, last=True), 600)
        await arrived(place, 1)
        assert len(place.channel.taken[0][1]["result"]["text"]) == 3 << 20

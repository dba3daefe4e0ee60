"""Requests and their messages in the broker: each once, in order, by one process at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from broker_plane.config import Settings
from broker_plane.errors import ConflictError, WireError
from broker_plane.exchange.headers import DEADLINE, DIGEST, PART, SEQ
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.exchanges import NatsExchanges

pytestmark = pytest.mark.anyio
LINE = b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}'


def new_key() -> ExchangeKey:
    return ExchangeKey(f"s{secrets.token_hex(6)}", f"n{secrets.token_hex(16)}", secrets.token_hex(16))


@pytest.fixture
async def other(settings: Settings) -> AsyncIterator[NatsExchanges]:
    """The store as another process has it."""
    wired = await wire(settings.nats_url, settings)
    yield NatsExchanges(wired.connection)
    await wired.close()


@pytest.fixture
def store(wiring: Wiring) -> NatsExchanges:
    return NatsExchanges(wiring.connection)


async def test_a_request_is_stored_once_and_another_one_under_its_key_is_refused(
    store: NatsExchanges, other: NatsExchanges
) -> None:
    key = new_key()
    assert await store.ask(key, LINE, {DIGEST: "a", DEADLINE: "12345.5"}, 60)
    assert not await other.ask(key, LINE + b" ", {DIGEST: "a"}, 60)
    with pytest.raises(ConflictError, match=key.exchange):
        await other.ask(key, LINE, {DIGEST: "b"}, 60)
    found = await other.find(key)
    assert found is not None
    assert (found.line, found.deadline) == (LINE, 12345.5)
    assert found.expires - found.at == 60
    async with aclosing(other.asked(key.server, "n", lambda: 1)) as asked:
        claimed, claim = await asyncio.wait_for(anext(asked), 30)
        await claim.done()
    assert (claimed.key, claimed.line, claimed.deadline) == (key, LINE, 12345.5)
    assert abs(claimed.at - found.at) < 0.001
    assert claimed.expires == pytest.approx(found.expires, abs=0.001)
    assert await other.find(new_key()) is None


async def test_each_carrier_claims_its_own_requests(store: NatsExchanges) -> None:
    key = new_key()
    hook = ExchangeKey(key.server, f"w{secrets.token_hex(16)}", "1")
    await store.ask(key, LINE, {}, 60)
    await store.ask(hook, LINE, {}, 60)
    async with aclosing(store.asked(key.server, "w", lambda: 5)) as asked:
        assert (await asyncio.wait_for(anext(asked), 30))[0].key == hook
    async with aclosing(store.asked(key.server, "n", lambda: 5)) as asked:
        assert (await asyncio.wait_for(anext(asked), 30))[0].key == key


async def test_only_the_next_number_is_appended_and_nothing_after_the_answer(
    store: NatsExchanges, other: NatsExchanges
) -> None:
    key = new_key()
    await store.append(key, Said(1, b"one"), 60)
    await store.append(key, Said(1, b"one"), 60)  # as after an acknowledgement that was lost
    with pytest.raises(ConflictError):
        await other.append(key, Said(1, b"one"), 60)
    with pytest.raises(ConflictError):
        await other.append(key, Said(3, b"three"), 60)
    await other.append(key, Said(2, b"two"), 60)  # a takeover
    with pytest.raises(ConflictError):
        await store.append(key, Said(2, b"mine"), 60)
    assert await store.last(key) == Said(2, b"")
    await other.append(key, Said(3, b"answer", last=True), 60)
    for late in (store, other):
        with pytest.raises(ConflictError):
            await late.append(key, Said(4, b"more"), 60)
    assert await store.messages(key) == [Said(1, b"one"), Said(2, b"two"), Said(3, b"answer", last=True)]
    assert await store.messages(key, after=2) == [Said(3, b"answer", last=True)]
    assert await store.last(key) == Said(3, b"", last=True)


async def test_a_message_larger_than_one_of_nats_is_stored_in_parts(store: NatsExchanges, wiring: Wiring) -> None:
    key = new_key()
    large = secrets.token_bytes(wiring.connection.max_payload * 2)
    await store.append(key, Said(1, b"small"), 60)
    await store.append(key, Said(2, large), 60)
    await store.append(key, Said(3, b"end", last=True), 60)
    assert await store.messages(key, after=1) == [Said(2, large), Said(3, b"end", last=True)]


async def test_a_message_whose_writer_died_between_two_parts_does_not_count(
    store: NatsExchanges, wiring: Wiring
) -> None:
    key = new_key()
    await store.append(key, Said(1, b"one"), 60)
    subject = wiring.connection.names.exchange_subject(key.server, key.session, key.exchange)
    await wiring.connection.store(subject, b"half", {SEQ: "2", PART: "1/2", "Nats-TTL": "60s"})
    successor = NatsExchanges(wiring.connection)
    assert await successor.last(key) == Said(1, b"")
    await successor.append(key, Said(2, b"whole", last=True), 60)
    assert await store.messages(key) == [Said(1, b"one"), Said(2, b"whole", last=True)]


async def test_what_is_forgotten_leaves_nothing_and_the_rest_alone(store: NatsExchanges) -> None:
    key, kept = new_key(), new_key()
    for each in (key, kept):
        await store.ask(each, LINE, {}, 60)
        await store.append(each, Said(1, b"answer", last=True), 60)
    await store.forget(key)
    assert (await store.find(key), await store.messages(key)) == (None, [])
    assert await store.find(kept) is not None
    assert len(await store.messages(kept)) == 1


async def test_excused_attempts_are_counted(store: NatsExchanges) -> None:
    key = new_key()
    assert await store.excuses(key) == 0
    for _ in range(2):
        await store.excuse(key, 60)
    assert await store.excuses(key) == 2


async def test_a_request_whose_subject_could_name_those_of_others_is_dropped(
    store: NatsExchanges, wiring: Wiring
) -> None:
    names, server = wiring.connection.names, f"s{secrets.token_hex(6)}"
    key = ExchangeKey(server, f"n{secrets.token_hex(16)}", secrets.token_hex(16))
    await store.ensure()
    for session, exchange in (("*", "*"), (key.session, "*"), ("w" + "a" * 16, "b" * 16), ("n" + "a" * 200, "b" * 16)):
        subject = names.mcp_subject(server, "ask", "n", session, exchange)  # what any client of the server may send
        await wiring.connection.store(subject, LINE, {"Nats-TTL": "never"})
    await store.ask(key, LINE, {}, 60)
    async with aclosing(store.asked(server, "n", lambda: 1)) as asked:
        claimed, _ = await asyncio.wait_for(anext(asked), 30)
    assert claimed.key == key
    state = await wiring.connection.api(f"STREAM.INFO.{names.requests_stream}", {"subjects_filter": "bp.mcp.*.in.>"})
    assert [subject for subject in state["state"]["subjects"] if server in subject] == [
        names.request_subject(server, key.session, key.exchange)
    ]
    with pytest.raises(WireError):
        ExchangeKey(server, "*", key.exchange)

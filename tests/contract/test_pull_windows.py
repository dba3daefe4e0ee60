"""Windows of a stored body over the presigned subject: two are under way, and no odd arrival changes its bytes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from nats.aio.msg import Msg

from broker_plane import Plane, Published
from broker_plane.broker.connection import Connection
from broker_plane.config import load_settings
from broker_plane.errors import BodyLostError, BodyNotFoundError
from broker_plane.plane.fairness.windows import LARGEST_BYTES
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.plane_names import Names
from broker_plane.wire.presigned import PullRequest, parse_answer, parse_request
from broker_plane.wire.selector import WHOLE

pytestmark = pytest.mark.anyio
SIZE = 20_000_000
DELIVERED = "bp.dlv.>"


@pytest.fixture
async def plane(own_server: NatsServer, tmp_path: Path) -> AsyncIterator[Plane]:
    async with Plane.connect(load_settings(nats_url=own_server.url, data_dir=tmp_path)) as connected:
        yield connected


class Seen:
    """What crosses the broker: the windows that are asked for, and the bytes that are delivered."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, PullRequest]] = []
        self.bytes = 0

    async def request(self, message: Msg) -> None:
        self.requests.append((message.subject.split(".")[3], parse_request(message.data)))

    async def delivery(self, message: Msg) -> None:
        self.bytes += len(message.data)


@asynccontextmanager
async def seeing(plane: Plane, published: Published) -> AsyncIterator[Seen]:
    seen, client = Seen(), plane.wiring.connection.client
    subscriptions = [
        await client.subscribe(f"bp.pull.{published.grant}.*", cb=seen.request),
        await client.subscribe(DELIVERED, cb=seen.delivery, pending_bytes_limit=0),
    ]
    yield seen
    for subscription in subscriptions:
        await subscription.unsubscribe()


async def send(connection: Connection, body: BodyInfo, subject: str, first: int, count: int) -> None:
    """A window that nobody asked for."""
    fields = {"batch": count, "seq": first, "next_by_subj": Names().chunk_subject(body.owner, body.id)}
    await connection.publish(
        f"$JS.API.DIRECT.GET.{Names().object_stream(body.owner)}", orjson.dumps(fields), reply=subject
    )


async def test_the_next_window_comes_while_one_is_read_and_none_after_that(plane: Plane) -> None:
    raw = os.urandom(SIZE)
    published = await plane.publish(raw, uses="unlimited")
    async with seeing(plane, published) as seen, plane.pulls.open(published.resource_url, via="nats") as incoming:
        got = await anext(incoming.pieces)
        await until(lambda: seen.bytes >= 2 * LARGEST_BYTES, "the second window")
        other = await plane.publish(b"asked and answered after all that was asked before")
        await plane.pull(other.resource_url, via="nats")
        assert len(seen.requests) == 2
        assert seen.bytes == 2 * LARGEST_BYTES
        got += b"".join([piece async for piece in incoming.pieces])
    assert got == raw
    assert [request.after >= 0 for _, request in seen.requests] == [False] + [True] * (SIZE // LARGEST_BYTES)


async def test_windows_that_come_early_and_twice_change_nothing(plane: Plane) -> None:
    """As replicas of a cluster may send them, and whoever asks again because it heard nothing."""
    raw = os.urandom(SIZE)
    published = await plane.publish(raw, uses="unlimited")
    body = published.body
    first, count = body.runs[0][0], sum(count for _, count in body.runs)
    async with seeing(plane, published) as seen, plane.pulls.open(published.resource_url, via="nats") as incoming:
        await until(lambda: seen.requests, "the first window")
        asker, request = seen.requests[0]
        for start in (count // 2, 0, count - 1):
            subject = Names().delivery_subject(asker, request.number)
            await send(plane.wiring.connection, body, subject, first + start, count - start)
        got = b"".join([piece async for piece in incoming.pieces])
    assert got == raw


async def test_a_pull_that_is_broken_off_leaves_nothing_to_the_next(plane: Plane) -> None:
    raw = os.urandom(SIZE)
    published = await plane.publish(raw, uses=1)
    for _ in range(3):
        async with plane.pulls.open(published.resource_url, via="nats") as incoming:
            await anext(incoming.pieces)
            with pytest.raises(ZeroDivisionError):
                async with plane.pulls.open((await plane.publish(raw)).resource_url, via="nats") as inner:
                    await anext(inner.pieces)
                    raise ZeroDivisionError
    assert await plane.pull(published.resource_url, via="nats") == raw


async def test_a_body_that_is_deleted_under_a_pull_does_not_come_to_its_end(plane: Plane) -> None:
    published = await plane.publish(os.urandom(SIZE), uses="unlimited")
    received = 0
    with pytest.raises(BodyLostError):
        async with plane.pulls.open(published.resource_url, via="nats") as incoming:
            async for piece in incoming.pieces:
                if not received:
                    await plane.bodies.delete(published.body.id)
                received += len(piece)
    assert 0 < received <= 2 * LARGEST_BYTES


async def test_one_subscription_serves_all_pulls_of_a_connection(plane: Plane) -> None:
    published = await plane.publish(b"body", uses="unlimited")
    await plane.pull(published.resource_url, via="nats")
    async with seeing(plane, published) as seen:
        for _ in range(5):
            await plane.pull(published.resource_url, via="nats")
        await until(lambda: len(seen.requests) == 5, "the requests")
    numbers = [request.number.split(".") for _, request in seen.requests]
    assert len({number for number, _ in numbers}) == 5
    assert len({connection for _, connection in numbers}) == 1


async def test_a_small_body_that_was_deleted_is_not_there_for_who_asks_for_its_second_window(plane: Plane) -> None:
    published = await plane.publish(b"body", uses="unlimited")
    await plane.pull(published.resource_url, via="nats")
    connection = plane.wiring.connection

    async def second_window() -> bytes:
        request = PullRequest("n" * 22, WHOLE, after=published.body.runs[0][0] if published.body.runs else 0)
        return (await connection.request(f"bp.pull.{published.grant}.asker", request.pack())).data

    assert parse_answer(await second_window()).data == b"body"
    await plane.bodies.delete(published.body.id)
    with pytest.raises(BodyNotFoundError):
        parse_answer(await second_window())

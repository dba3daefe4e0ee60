"""Live streams over NATS, server-sent events and WebSocket: nothing lost, nothing twice, and a publisher that waits."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from nats.errors import Error as NatsError

from broker_plane import LiveStream, Plane
from broker_plane.broker.connecting import connect
from broker_plane.config import Settings
from broker_plane.errors import BodyNotFoundError, ForbiddenError, LeaseLostError, StoreFullError, WireError
from broker_plane.storage.streams import NatsStreams
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.names import body_id
from broker_plane.wire.streams import StreamInfo

pytestmark = pytest.mark.anyio
PATIENCE = 30
BUFFER = 8
ROWS = [{"n": number, "text": f"row {number}"} for number in range(60)]
CHUNKS = [bytes([number]) * (number * 100 + 1) for number in range(30)]
Read = Callable[[LiveStream, int, int], Awaitable[tuple[list[tuple[int, Any]], bool]]]
"""`await read(stream, after, most)`: items after `after`, at most so many before it breaks off; whether it ended."""


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture
def plane_of(plane: Plane) -> dict[str, Read]:
    async def over_nats(stream: LiveStream, after: int, most: int) -> tuple[list[tuple[int, Any]], bool]:
        found: list[tuple[int, Any]] = []
        async with aclosing(plane.pulls.follow(stream.grant, after)) as items:
            async for item in items:
                found.append(item)
                if len(found) == most:
                    return found, False
        return found, True

    def by_descriptor(protocol: str) -> Read:
        async def read(stream: LiveStream, after: int, most: int) -> tuple[list[tuple[int, Any]], bool]:
            found: list[tuple[int, Any]] = []
            way = next(each for each in stream.offer().descriptors if each.protocol == protocol)
            async with aclosing(plane.transfers.follow(way, after)) as items:
                async for item in items:
                    found.append(item)
                    if len(found) == most:
                        return found, False
            return found, True

        return read

    ours = {f"our {protocol}": by_descriptor(protocol) for protocol in ("sse", "ws")}
    return {"nats": over_nats, "sse": over_sse, "ws": over_socket, **ours}


async def over_sse(stream: LiveStream, after: int, most: int) -> tuple[list[tuple[int, Any]], bool]:
    """As an EventSource: it comes again with the last id until the end, or it breaks off after `most`."""
    found: list[tuple[int, Any]] = []
    async with httpx2.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE) as client:
        while True:
            headers = {"last-event-id": str(after)} if after else {}
            async with client.stream("GET", stream.resource_url, headers=headers) as answer:
                if answer.status_code == 204:
                    return found, True
                assert answer.status_code == 200, await answer.aread()
                kind = ""
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "id":
                        after = int(value)
                    elif name == "data" and kind == "item":
                        found.append((after, json.loads(value)["data"]))
                        if len(found) == most:
                            return found, False
                    elif name == "data":
                        assert (kind, value) == ("end", stream.live.end_signal)


async def over_socket(stream: LiveStream, after: int, most: int) -> tuple[list[tuple[int, Any]], bool]:
    found: list[tuple[int, Any]] = []
    url = stream.resource_url.replace("http:", "ws:") + f"?after={after}"
    async with websockets.connect(url, proxy=None) as socket:
        async for message in socket:
            if message == stream.live.end_signal:
                await socket.send(json.dumps({"after": after + 1}))
                await socket.wait_closed()
                return found, True
            if isinstance(message, bytes):
                after, data = int.from_bytes(message[:8], "big"), message[8:]
            else:
                fields = json.loads(message)
                after, data = fields["id"], fields["data"]
            found.append((after, data))
            if len(found) == most:
                return found, False
            await socket.send(json.dumps({"after": after}))
    raise AssertionError(f"closed without an end: {socket.close_code} {socket.close_reason}")


@pytest.mark.parametrize("way", ["nats", "sse", "ws", "our sse", "our ws"])
async def test_a_reader_that_breaks_off_again_and_again_gets_every_row_once(
    plane: Plane, plane_of: dict[str, Read], way: str
) -> None:
    chance = random.Random(7)
    got: list[tuple[int, Any]] = []
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        ready: asyncio.Future[LiveStream] = asyncio.get_running_loop().create_future()
        tasks.create_task(published(plane, ready, ROWS))
        stream = await ready
        ended = False
        while not ended:
            items, ended = await plane_of[way](stream, got[-1][0] if got else 0, chance.randint(1, 2 * BUFFER))
            got += items
    assert got == list(enumerate(ROWS, 1))


@pytest.mark.parametrize("way", ["nats", "ws", "our sse", "our ws"])
async def test_chunks_arrive_as_they_were(plane: Plane, plane_of: dict[str, Read], way: str) -> None:
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        ready: asyncio.Future[LiveStream] = asyncio.get_running_loop().create_future()
        tasks.create_task(published(plane, ready, CHUNKS, kind="bytes", media_type="audio/pcm"))
        items, ended = await plane_of[way](await ready, 0, 1000)
    assert ended
    assert [data for _, data in items] == CHUNKS


async def published(plane: Plane, ready: asyncio.Future[LiveStream], items: list[Any], **options: Any) -> None:
    async with plane.streams.publish(options.pop("kind", "rows"), buffer_size=BUFFER, **options) as stream:
        ready.set_result(stream)
        for item in items:
            await stream.send(item)


@pytest.mark.parametrize("way", ["nats", "sse", "ws", "our sse", "our ws"])
async def test_the_publisher_is_never_further_ahead_than_the_buffer(
    plane: Plane, plane_of: dict[str, Read], way: str
) -> None:
    sent = 0

    async def publish(stream: LiveStream) -> None:
        nonlocal sent
        for row in ROWS:
            sent = await stream.send(row)

    async def full() -> bool:
        return sent == BUFFER + taken

    async with asyncio.timeout(PATIENCE), plane.streams.publish(buffer_size=BUFFER) as stream:
        taken = 0
        publishing = asyncio.create_task(publish(stream))
        await until(full, "a full buffer", PATIENCE)
        items, _ = await plane_of[way](stream, 0, 5)
        taken = items[-1][0]
        # To come again with the number says that it was taken.
        more, _ = await plane_of[way](stream, taken, 1)
        assert more[0][0] == taken + 1
        await until(full, "room for what was taken, and no more", PATIENCE)
        rest, _ = await plane_of[way](stream, taken, len(ROWS) - taken)
        await publishing
        assert [row for _, row in items + rest] == ROWS
        # The reader is gone before it could say so; the end of the block waits for its place in the buffer.
        await plane_of[way](stream, len(ROWS) - 1, 1)


async def test_a_publisher_of_which_nats_is_away_stores_each_item_once(plane: Plane, plane_of: dict[str, Read]) -> None:
    async with plane.streams.publish(buffer_size=100) as stream:
        for number, row in enumerate(ROWS):
            if number % 20 == 10:
                await cut(plane)
            await stream.send(row)
    items, ended = await plane_of["nats"](stream, 0, 1000)
    assert ended
    assert [row for _, row in items] == ROWS


async def cut(plane: Plane) -> None:
    """The connection breaks under the client, which makes another one."""
    transport = plane.wiring.connection.client._transport
    assert transport is not None
    with suppress(NatsError):
        transport.close()  # type: ignore[no-untyped-call]  # nats-py


@pytest.mark.parametrize("way", ["nats", "our sse", "our ws"])
async def test_what_was_taken_is_gone_and_said_to_be(plane: Plane, plane_of: dict[str, Read], way: str) -> None:
    async with plane.streams.publish(buffer_size=20) as stream:
        for row in ROWS[:10]:
            await stream.send(row)
        await plane_of[way](stream, 5, 1)
        with pytest.raises(LeaseLostError):
            await plane_of[way](stream, 0, 1)
        with pytest.raises(LeaseLostError):
            await plane_of[way](stream, 99, 1)  # nobody can have taken what was not sent
    assert (await plane_of[way](stream, 5, 1000))[1]
    with pytest.raises(BodyNotFoundError):
        await plane_of[way](stream, 5, 1)


async def test_the_grant_of_a_stream_is_for_nothing_else_and_ends_when_it_is_revoked(plane: Plane) -> None:
    async with plane.streams.publish() as stream:
        await stream.send(ROWS[0])
        with pytest.raises(ForbiddenError):
            await plane.pull(stream.grant)
        narrowed = plane.narrow(stream.grant, where="n > 5")
        with pytest.raises(ForbiddenError):
            await anext(plane.pulls.follow(narrowed.grant))
        async with httpx2.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE) as client:
            async with client.stream("GET", stream.resource_url) as answer:
                lines = answer.aiter_lines()
                async for line in lines:
                    if line.startswith("data"):
                        break
                await plane.revoke(stream.grant)
                async with asyncio.timeout(PATIENCE):
                    assert any(["grant_revoked" in line async for line in lines])
            assert (await client.get(stream.resource_url)).status_code == 410
        with pytest.raises(websockets.InvalidStatus):
            await over_socket(stream, 0, 1)


async def test_its_descriptor_says_how_to_read_it(plane: Plane) -> None:
    async with plane.streams.publish(buffer_size=BUFFER, end_signal="done") as stream:
        offered = stream.offer().descriptors
        assert [each.protocol for each in offered] == ["ws", "sse"]
        for descriptor in offered:
            assert (descriptor.mode, descriptor.format) == ("stream", "application/x-ndjson")
            said = descriptor.to_wire()["stream"]
            assert said == {"reconnect": True, "buffer_size": BUFFER, "end_signal": "done"}
        with pytest.raises(WireError):
            await stream.send(b"a chunk")
    for wrong in ({"buffer_size": 0}, {"end_signal": ""}, {"end_signal": "{}"}):
        with pytest.raises(WireError):
            async with plane.streams.publish(**wrong):
                pass


@pytest.fixture
def large_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path, store_bytes=16 << 30)  # each live stream reserves 16 MiB of it
    server.start()
    yield server
    server.stop()


async def test_live_streams_are_bounded_and_those_that_expired_make_room_for_others(large_server: NatsServer) -> None:
    connection = await connect(large_server.url, timeout=5)
    log = NatsStreams(connection, max_streams=300)  # more than one page of a listing
    now = int(connection.clock.now())

    def made(number: int, expires: int) -> StreamInfo:
        name = body_id(number.to_bytes(16, "big"))
        kind: Any = {"owner": "local", "kind": "rows", "media_type": "application/x-ndjson"}
        return StreamInfo(id=name, buffer_size=1, end_signal="end", expires=expires, **kind)

    await asyncio.gather(*(log.create(made(number, now + 3600), 3600) for number in range(299)))
    soon = int(connection.clock.now()) + 3
    await log.create(made(299, soon), 3600)
    with pytest.raises(StoreFullError, match="300 live streams"):
        await log.create(made(300, soon), 3600)
    await until(lambda: connection.clock.now() > soon + 1, "the last of them to expire")
    await log.create(made(301, now + 3600), 3600)
    assert await log.find(made(301, 0).id)
    with pytest.raises(BodyNotFoundError):
        await log.find(made(299, 0).id)
    await connection.close()


@pytest.mark.parametrize("number", [1_000_000, 2**70])
async def test_an_acknowledgement_of_what_was_not_sent_is_refused_whatever_its_size(plane: Plane, number: int) -> None:
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        ready: asyncio.Future[LiveStream] = asyncio.get_running_loop().create_future()
        publishing = tasks.create_task(published(plane, ready, ROWS))
        stream = await ready
        async with websockets.connect(stream.resource_url.replace("http:", "ws:"), proxy=None) as socket:
            await socket.recv()
            await socket.send(json.dumps({"after": number}))
            await socket.wait_closed()
        publishing.cancel()
    assert (socket.close_code, socket.close_reason) == (1008, LeaseLostError.code)

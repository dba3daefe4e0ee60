"""When a use is spent and when it comes back: single use means one completed delivery (decisions 0030 and 0031)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from broker_plane.config import load_settings
from broker_plane.plane.bodies.publish import StoredBody
from broker_plane.runtime.wiring import wire
from broker_plane.testing.server import NatsServer
from broker_plane.wire.plane_names import Names
from tests.bridge.bodies import ROWS, Bridge, serving_bodies
from tests.bridge.conftest import Dial
from tests.bridge.wire import PATIENCE, Reader

pytestmark = pytest.mark.anyio

LARGE = bytes(12 << 20)


async def begin(bridge: Bridge, dial: Dial, grant: str, headers: str = "") -> tuple[Reader, bytes]:
    reader: Reader = await dial(bridge.port)
    await reader.get(f"/s2sp/data/{grant}", headers)
    return reader, await reader.read_head()


async def confirm(reader: Reader, grant: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    raw = json.dumps(fields).encode()
    head = f"POST /s2sp/data/{grant}/confirm HTTP/1.1\r\nhost: x\r\ncontent-length: {len(raw)}\r\n\r\n"
    await reader.send(head.encode() + raw)
    answer = await reader.read_head()
    size = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(answer.split()[1]), json.loads(await reader.read(size))


async def purge_chunks(bridge: Bridge, published: StoredBody) -> None:
    """Take the bytes away from below the store; its meta stays."""
    body = published.body
    jetstream = bridge.wiring.connection.client.jetstream()
    await jetstream.purge_stream(Names().object_stream(body.owner), subject=Names().chunk_subject(body.owner, body.id))


async def status_of(bridge: Bridge, dial: Dial, grant: str) -> int:
    """What another reader gets; 409 is asked again, because an end is noticed a moment after it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            reader, head = await begin(bridge, dial, grant, "connection: close\r\n")
            if (status := int(head.split()[1])) != 409:
                if status == 200:
                    await reader.read_to_end()
                reader.close()
                return status
            reader.close()


async def test_a_reader_that_took_everything_has_spent_the_use(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(LARGE, uses=1)
    reader, _ = await begin(bridge, dial, published.grant)
    await reader.read(len(LARGE))
    reader.close()
    assert await status_of(bridge, dial, published.grant) == 410


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_reader_that_drops_gives_the_use_back(bridge: Bridge, dial: Dial, end: str) -> None:
    published = await bridge.publish(LARGE, uses=1)
    reader, _ = await begin(bridge, dial, published.grant)
    await reader.read(len(LARGE) // 4)
    if end == "reset":
        reader.reset()
    else:
        reader.take_all()
        reader.close()
    assert await status_of(bridge, dial, published.grant) == 200
    assert await status_of(bridge, dial, published.grant) == 410


async def test_while_one_reads_another_is_told_to_wait(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(LARGE, uses=1)
    await begin(bridge, dial, published.grant)
    _, head = await begin(bridge, dial, published.grant)
    assert head.startswith(b"HTTP/1.1 409 ")
    assert b"retry-after: " in head


async def test_of_64_racers_one_gets_the_body(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(ROWS, uses=1)

    async def race() -> int:
        _, head = await begin(bridge, dial, published.grant)
        return int(head.split()[1])

    statuses = await asyncio.gather(*(race() for _ in range(64)))
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 410}


async def test_a_part_is_no_use_and_the_rest_of_the_body_is(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(LARGE, uses=1)
    half = len(LARGE) // 2
    part = await bridge.get(published, range=f"bytes=0-{half - 1}", connection="close")
    assert len(part.content) == half
    rest = await bridge.get_settled(published, range=f"bytes={half}-")
    assert len(rest.content) == half
    assert await status_of(bridge, dial, published.grant) == 410


async def test_a_confirmation_ends_the_delivery_of_its_connection(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(ROWS, uses=1)
    reader, _ = await begin(bridge, dial, published.grant)
    reader.take_all()
    assert await confirm(reader, published.grant, {"status": "success"}) == (200, {"status": "confirmed"})
    assert await status_of(bridge, dial, published.grant) == 410


@pytest.mark.parametrize("fields", [{"status": "failure"}, {"bytes_received": 5}, {"checksum": "0" * 64}])
async def test_a_reader_that_says_it_failed_gives_the_use_back(
    bridge: Bridge, dial: Dial, fields: dict[str, Any]
) -> None:
    published = await bridge.publish(b"abcdefgh", uses=1)
    reader, _ = await begin(bridge, dial, published.grant)
    assert await reader.read(8) == b"abcdefgh"
    assert await confirm(reader, published.grant, fields) == (200, {"status": "released"})
    assert await status_of(bridge, dial, published.grant) == 200


async def test_a_confirmation_names_its_delivery_on_another_connection(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(b"abcdefgh", uses=2)
    first, head = await begin(bridge, dial, published.grant)
    lease = head.partition(b"bp-lease: ")[2].partition(b"\r\n")[0].decode()
    second, _ = await begin(bridge, dial, published.grant)
    await first.read(8)
    await second.read(8)
    other = await dial(bridge.port)
    assert (await confirm(other, published.grant, {"lease": lease, "checksum": published.body.digest}))[0] == 200
    # The second delivery goes on: it was not meant.
    assert (await confirm(second, published.grant, {"status": "failure"}))[1] == {"status": "released"}
    assert await status_of(bridge, dial, published.grant) == 200
    assert await status_of(bridge, dial, published.grant) == 410


async def test_a_confirmation_in_the_middle_of_a_delivery_confirms_no_other(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(LARGE, uses=1)
    await begin(bridge, dial, published.grant)
    other = await dial(bridge.port)
    status, fields = await confirm(other, published.grant, {"status": "success"})
    assert (status, fields["code"]) == (410, "lease_lost")


@pytest.mark.parametrize(
    "fields", [{"status": "maybe"}, {"status": 1}, {"bytes_received": -1}, {"bytes_received": True}, {"checksum": 5}]
)
async def test_a_confirmation_that_is_none_is_400(bridge: Bridge, dial: Dial, fields: dict[str, Any]) -> None:
    published = await bridge.publish(ROWS, uses=1)
    reader = await dial(bridge.port)
    assert (await confirm(reader, published.grant, fields))[0] == 400


async def test_a_second_confirmation_changes_nothing(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(ROWS, uses=2)
    reader, _ = await begin(bridge, dial, published.grant)
    reader.take_all()
    for _ in range(3):
        assert (await confirm(reader, published.grant, {}))[0] == 200
    assert await status_of(bridge, dial, published.grant) == 200
    assert await status_of(bridge, dial, published.grant) == 410


async def test_a_body_that_was_damaged_is_502_and_gives_the_use_back(bridge: Bridge) -> None:
    published = await bridge.publish(b"abcdefgh", uses=1)
    await purge_chunks(bridge, published)
    for _ in range(2):
        answer = await bridge.get(published)
        assert (answer.status_code, answer.json()["code"]) == (502, "body_lost")


async def test_a_body_that_breaks_midway_is_seen_as_broken(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(bytes(40 << 20), uses=1)
    reader, _ = await begin(bridge, dial, published.grant)
    await reader.read(1 << 20)
    await purge_chunks(bridge, published)
    got = (1 << 20) + len(await reader.read_to_end())
    assert got < 40 << 20


async def test_a_server_that_is_away_is_503_and_comes_back(own_server: NatsServer, dial: Dial) -> None:
    settings = load_settings(nats_url=own_server.url, request_timeout_seconds=0.5)
    wiring = await wire(own_server.url, settings)
    async with serving_bodies(wiring) as bridge:
        published = await bridge.publish(ROWS, uses=1)
        own_server.kill()
        ready = await bridge.open("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "away")
        answer = await bridge.get(published)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert (await bridge.open("/healthz")).status_code == 200
        own_server.start()
        async with asyncio.timeout(PATIENCE):
            while (await bridge.open("/readyz")).status_code != 200:
                pass
        assert (await bridge.get(published)).json() == ROWS
    await wiring.close()


async def test_a_bridge_that_stops_gives_back_what_was_under_way(bridge: Bridge, dial: Dial) -> None:
    published = await bridge.publish(LARGE, uses=1)
    async with serving_bodies(bridge.wiring) as other:
        await begin(other, dial, published.grant)
    assert await status_of(bridge, dial, published.grant) == 200

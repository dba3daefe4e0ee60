"""Feeds over WebSocket, with a client library that is not ours, and durables that outlive client, bridge and broker."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.plane.feeds import http_durables
from broker_plane.runtime.bridging import bridging
from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from broker_plane.wire.durables import guest_durable
from broker_plane.wire.names import asker_of
from tests.bridge.test_feeds import PATIENCE, ROWS, listening, publish
from tests.bridge.test_serve import certificate
from tests.bridge.wire import Reader
from tests.forked import ForkedActor

pytestmark = pytest.mark.anyio
__all__ = ["certificate"]


def socket(url: str, **options: Any) -> AbstractAsyncContextManager[ClientConnection]:
    return connect(url.replace("http", "ws", 1), open_timeout=PATIENCE, proxy=None, **options)


async def told(connection: ClientConnection) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE))
    return fields


async def version(connection: ClientConnection) -> int:
    event = await told(connection)
    assert event["event"] == "notice"
    return int(event["data"]["version"])


async def closed(connection: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as ended:
        await told(connection)
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason


async def test_a_socket_tells_of_versions_and_goes_on_after_the_last_one_on_any_bridge(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ROWS)
    url = (await plane.feeds.grant(feed)).resource_url
    async with socket(url) as connection:
        first = await told(connection)
        assert (first["data"]["version"], first["data"]["rows"]) == (1, 3)
        await publish(plane, feed, ROWS[:2])
        assert await version(connection) == 2
        await connection.ping()
    async with Plane.connect(plane.settings) as other:
        moved = url.replace(plane.bridge_url, other.bridge_url)
        async with socket(f"{moved}?after={first['id']}") as connection:
            assert await version(connection) == 2


async def test_a_socket_ends_with_its_grant_and_says_what_is_over(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ROWS)
    granted = await plane.feeds.grant(feed, columns=["id"])
    async with socket(granted.resource_url) as connection:
        event = await told(connection)
        assert event["data"]["columns"] == ["id"] and "digest" not in event["data"]
        await plane.revoke(granted.grant)
        await publish(plane, feed, ROWS[:1])  # whoever is quiet learns it with the next heartbeat
        end = await told(connection)
        assert (end["event"], end["data"]["code"]) == ("end", "grant_revoked")
        assert (await closed(connection))[0] == 4410


async def test_a_socket_is_closed_by_a_bridge_that_ends(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ROWS)
    url = (await plane.feeds.grant(feed)).resource_url
    async with Plane.connect(plane.settings) as other:
        connection = await socket(url.replace(plane.bridge_url, other.bridge_url)).__aenter__()
        assert await version(connection) == 1
    assert (await closed(connection))[0] == 1012


@pytest.mark.parametrize(
    ("path", "status"), [("?since=x", 400), ("?sinc=1", 400), ("?durable=a_b", 400), ("?durable=x&after=y", 400)]
)
async def test_who_is_refused_gets_the_answer_of_http(plane: Plane, feed: str, path: str, status: int) -> None:
    await publish(plane, feed, ROWS)
    url = (await plane.feeds.grant(feed)).resource_url
    with pytest.raises(InvalidStatus) as refused:
        async with socket(url + path):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["status"] == status


async def test_a_bridge_serves_its_documents(plane: Plane, client: httpx2.AsyncClient) -> None:
    for name in ("openapi", "asyncapi"):
        answer = await client.get(f"{plane.bridge_url}/{name}.yaml")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/yaml")
        assert yaml.safe_load(answer.text)[name]
        assert (await client.head(f"{plane.bridge_url}/{name}.yaml")).headers["content-length"] == str(
            len(answer.content)
        )


async def test_only_a_genuine_grant_of_a_feed_opens_a_socket(plane: Plane, feed: str) -> None:
    body = await plane.publish(ROWS, feed=feed, key="id", uses="unlimited")
    for path, status in [
        (f"/v1/feeds/{'A' * 80}", 404),
        (f"/v1/feeds/{body.grant}", 403),
        (f"/s2sp/data/{body.grant}", 200),  # no upgrade there: the body, as without one
        ("/healthz", 200),
    ]:
        with pytest.raises(InvalidStatus) as refused:
            async with socket(plane.bridge_url + path):
                pass
        assert refused.value.response.status_code == status, path


async def test_what_a_client_says_wrong_closes_its_socket(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ROWS)
    url = (await plane.feeds.grant(feed)).resource_url
    for query, said in [("", '{"taken": "1"}'), ("?durable=a", "hello"), ("?durable=a", '{"taken": "x"}')]:
        async with socket(url + query) as connection:
            await told(connection)
            await connection.send(said)
            assert (await closed(connection))[0] == 4400
    async with socket(url) as connection:
        await told(connection)
        await connection.send("x" * 5000)
        assert (await closed(connection))[0] == 1009


async def test_no_grant_is_in_a_log_line(plane: Plane, feed: str, caplog: pytest.LogCaptureFixture) -> None:
    await publish(plane, feed, ROWS)
    granted = await plane.feeds.grant(feed)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("websockets.client").setLevel(logging.CRITICAL)
        async with socket(granted.resource_url) as connection:
            await told(connection)
        with pytest.raises(InvalidStatus):
            async with socket(f"{granted.resource_url}?since=x"):
                pass
        await until(lambda: '"GET /v1/feeds/…" 101' in caplog.text, "the line of the first one")
    assert '"GET /v1/feeds/…" 400' in caplog.text
    assert granted.grant not in caplog.text


async def test_an_upgrade_behind_an_answer_that_is_under_way_is_no_upgrade(plane: Plane, feed: str) -> None:
    published = await plane.publish(bytes(3_000_000), uses="unlimited")
    await publish(plane, feed, ROWS)
    path = (await plane.feeds.grant(feed)).resource_url.removeprefix(plane.bridge_url)
    reader = await Reader.connect(int(plane.bridge_url.rpartition(":")[2]))
    try:
        await reader.get(f"/s2sp/data/{published.grant}")
        upgrade = "upgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n"
        await reader.get(path, f"connection: upgrade, close\r\n{upgrade}")
        assert b" 200 OK" in await reader.read_head()
        assert await reader.read(3_000_000) == bytes(3_000_000)
    finally:
        reader.close()


async def test_a_durable_goes_on_with_what_was_not_taken(plane: Plane, feed: str, client: httpx2.AsyncClient) -> None:
    for rows in (ROWS, ROWS[:2], ROWS[:1]):
        await publish(plane, feed, rows)
    url = (await plane.feeds.grant(feed)).resource_url
    async with socket(f"{url}?durable=email&since=first") as connection:
        first = await told(connection)
        assert first["data"]["version"] == 1
        await connection.send(json.dumps({"taken": first["id"]}))
        assert await version(connection) == 2  # and is not taken
    async with listening(client, f"{url}?durable=email") as stream:
        event = await anext(stream)
        assert event.data["version"] == 2
        answer = await client.post(f"{url}/taken", json={"durable": "email", "id": event.id})
        assert answer.json() == {"status": "taken"}
        event = await anext(stream)
        assert event.data["version"] == 3
    async with listening(client, f"{url}?durable=email", last_event_id=event.id) as stream:  # as browsers say it
        await publish(plane, feed, ROWS)
        assert (await anext(stream)).data["version"] == 4
    async with socket(f"{url}?durable=other&since=2") as connection:
        assert await version(connection) == 2
    for wrong in ({"durable": "email"}, {"durable": "email", "id": "7"}, {"durable": "a b", "id": "1.1.1.1.1"}):
        assert (await client.post(f"{url}/taken", json=wrong)).status_code == 400
    assert (await client.get(f"{url}/taken")).status_code == 405


async def test_the_same_durable_goes_on_over_nats(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ROWS)
    granted = await plane.feeds.grant(feed)
    async with socket(f"{granted.resource_url}?durable=email&since=first") as connection:
        await connection.send(json.dumps({"taken": (await told(connection))["id"]}))
        await publish(plane, feed, ROWS[:1])
        assert await version(connection) == 2
    name = guest_durable(asker_of(granted.grant), "email")
    stream = plane.subscribe(feed, durable=name, ack_seconds=http_durables.ACK_SECONDS)
    try:
        assert (await asyncio.wait_for(anext(stream), PATIENCE)).version == 2
    finally:
        await stream.aclose()


async def test_a_holder_takes_no_other_ones_notices(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ROWS)
    one, other = [(await plane.feeds.grant(feed)).resource_url for _ in range(2)]
    async with socket(f"{one}?durable=a&since=first") as first, socket(f"{other}?durable=a&since=first") as second:
        assert (await version(first), await version(second)) == (1, 1)


async def test_a_durable_outlives_kills_of_bridge_and_broker(own_server: NatsServer, tmp_path: Path) -> None:
    def bridge() -> Actor:
        return ForkedActor("broker_plane.cli.bridge", BROKER_PLANE_NATS_URL=own_server.url)

    settings = load_settings(nats_url=own_server.url, data_dir=tmp_path, bridge_url="http://bridge")
    assert http_durables.ACK_SECONDS < PATIENCE  # after it a notice of a bridge that is gone comes again
    async with Plane.connect(settings) as plane:
        await publish(plane, "crm.contacts", ROWS)
        granted = await plane.feeds.grant("crm.contacts")
        running = bridge()
        try:
            at = (await running.said())["bridge"]
            async with socket(f"{at}/v1/feeds/{granted.grant}?durable=email&since=first") as connection:
                await connection.send(json.dumps({"taken": (await told(connection))["id"]}))
                await publish(plane, "crm.contacts", ROWS[:2])
                assert await version(connection) == 2
                running.kill()
            own_server.kill()
            own_server.start()
            await publish(plane, "crm.contacts", ROWS[:1])
            running.close()
            running = bridge()
            at = (await running.said())["bridge"]
            async with socket(f"{at}/v1/feeds/{granted.grant}?durable=email") as connection:
                seen = []
                while 3 not in seen:
                    event = await told(connection)
                    seen.append(event["data"]["version"])
                    await connection.send(json.dumps({"taken": event["id"]}))
                # nats-server writes down late what was taken, so the one before may come once more.
                assert seen in ([2, 3], [1, 2, 3])
        finally:
            running.close()


async def test_a_socket_over_tls(plane: Plane, feed: str, certificate: tuple[Path, Path]) -> None:
    await publish(plane, feed, ROWS)
    granted = await plane.feeds.grant(feed)
    cert, key = certificate
    async with bridging(
        plane.wiring, plane.settings, host="127.0.0.1", port=0, certfile=cert, keyfile=key
    ) as bridge_url:
        context = ssl.create_default_context(cafile=str(cert))
        async with socket(f"{bridge_url}/v1/feeds/{granted.grant}", ssl=context) as connection:
            assert await version(connection) == 1

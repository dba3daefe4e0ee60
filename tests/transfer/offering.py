"""One body in every protocol, from real servers: `async with offered(…) as describe`, then `describe(**fields)`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from broker_plane import Plane
from broker_plane.testing.server import NatsServer, eventually
from broker_plane.wire.descriptor import Descriptor
from tests.transfer.conftest import BODY, describe
from tests.transfer.servers import SECRET, WebServer, sftp, websocket

PROTOCOLS = ("http", "nats", "sse", "ws", "mqtt", "fs", "sftp")
Describe = Callable[..., Descriptor]


@dataclass(frozen=True)
class Mqtt:
    """A nats-server with a listener for MQTT at `port`, and its monitoring port."""

    port: int
    monitoring: int
    server: NatsServer


@asynccontextmanager
async def offered(protocol: str, web: WebServer, plane: Plane, mqtt: Mqtt, directory: Path) -> AsyncIterator[Describe]:
    """What describes BODY in this protocol, for as long as the block lasts."""
    signal = {"stream": {"end_signal": "done"}}
    match protocol:
        case "http":
            yield lambda **more: describe("http", web.url + "/body", **more)
        case "sse":
            yield lambda **more: describe("sse", web.url + "/events", encoding="base64", **signal, **more)
        case "nats":
            subject = (await plane.publish(BODY, uses="unlimited")).subject
            yield lambda **more: describe("nats", subject, **more)
        case "ws":
            async with websocket(BODY) as port:
                auth = {"type": "bearer", "value": SECRET}
                yield lambda **more: describe("ws", f"ws://127.0.0.1:{port}/", auth=auth, **more)
        case "mqtt":
            async with asyncio.TaskGroup() as publishing:

                def topic(**more: Any) -> Descriptor:
                    name = uuid4().hex
                    publishing.create_task(_published(mqtt, name))
                    return describe("mqtt", f"mqtt://127.0.0.1:{mqtt.port}/bodies/{name}", **signal, **more)

                yield topic
        case "fs":
            file = directory / "a body"
            file.write_bytes(BODY)
            yield lambda **more: describe("fs", file.as_uri(), **more)
        case "sftp":
            (directory / "body").write_bytes(BODY)
            async with sftp(directory) as (port, key):
                auth = {"type": "header", "header_name": "reader", "value": SECRET}
                endpoint = f"sftp://127.0.0.1:{port}/body"
                yield lambda **more: describe("sftp", endpoint, auth=auth, host_key=key, **more)


async def _published(mqtt: Mqtt, name: str) -> None:
    """The body is published on the topic once somebody listens to it."""

    async def listened() -> bool:
        async with httpx2.AsyncClient(trust_env=False) as client:
            said = (await client.get(f"http://127.0.0.1:{mqtt.monitoring}/subsz?subs=1&limit=10000")).json()
        return any(each["subject"] == f"bodies.{name}" for each in said["subscriptions_list"])

    await eventually(listened)
    client = Client(CallbackAPIVersion.VERSION2)
    await asyncio.to_thread(client.connect, "127.0.0.1", mqtt.port)
    client.loop_start()
    try:
        for at in range(0, len(BODY), 200_000):
            client.publish(f"bodies/{name}", BODY[at : at + 200_000], qos=1)
        told = client.publish(f"bodies/{name}", "done", qos=1)
        await asyncio.to_thread(told.wait_for_publish, 20)
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)

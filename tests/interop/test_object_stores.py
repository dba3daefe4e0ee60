"""An opaque body is an ADR-20 object: NATS's own object stores, in Python and JavaScript, read it unchanged."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from hashlib import sha256

import anyio
import nats
import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.testing.server import NatsServer

from .conftest import Ask

pytestmark = pytest.mark.anyio
SIZES = [0, 1, 700_000, 3_000_000]
"""Nothing, one message, and several chunks."""
READ_SECONDS = 30


async def publish(settings: Settings, raw: bytes) -> str:
    """The name of the object that holds the published body."""
    async with Plane.connect(settings) as plane:
        return (await plane.publish(raw, name="picture.png", media_type="image/png")).body.id


@pytest.mark.parametrize("size", SIZES)
async def test_nats_py_reads_a_body(settings: Settings, nats_server: NatsServer, size: int) -> None:
    raw = os.urandom(size)
    name = await publish(settings, raw)
    client = await nats.connect(nats_server.url)
    try:
        store = await client.jetstream().object_store(f"bp_{settings.owner}")
        with anyio.fail_after(READ_SECONDS):  # it has no time-out of its own
            found = await store.get(name)
    finally:
        await client.close()
    assert found.data == raw
    assert found.info.size == size
    assert found.info.digest == "SHA-256=" + urlsafe_b64encode(sha256(raw).digest()).decode()


@pytest.mark.parametrize("size", SIZES)
async def test_the_javascript_client_reads_a_body(
    settings: Settings, nats_server: NatsServer, ask_node: Ask, size: int
) -> None:
    raw = os.urandom(size)
    name = await publish(settings, raw)
    found = await ask_node("read_object.cjs", url=nats_server.url, bucket=f"bp_{settings.owner}", name=name)
    assert found["size"] == size
    assert found["sha256"] == sha256(raw).hexdigest()
    assert found["digest"] == "SHA-256=" + urlsafe_b64encode(sha256(raw).digest()).decode()

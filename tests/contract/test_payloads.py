"""A message that is larger than nats-server accepts is refused by name before it is sent, on every way."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping

import pytest

from broker_plane.broker.connection import Connection
from broker_plane.errors import TooLargeError
from broker_plane.runtime.wiring import Wiring

pytestmark = pytest.mark.anyio


async def published(connection: Connection, payload: bytes, headers: Mapping[str, str]) -> None:
    await connection.publish("nobody.hears", payload, headers=headers)


async def stored(connection: Connection, payload: bytes, headers: Mapping[str, str]) -> None:
    await connection.store("nobody.hears", payload, headers)


@pytest.mark.parametrize("way", [published, stored])
@pytest.mark.parametrize("in_headers", [False, True])
async def test_a_message_above_max_payload_is_refused_and_the_connection_stays(
    wiring: Wiring, way: Callable[[Connection, bytes, Mapping[str, str]], Awaitable[None]], in_headers: bool
) -> None:
    connection = wiring.connection
    breaks, most = connection.link.breaks, connection.max_payload
    payload, note = (b"", "x" * (most + 1)) if in_headers else (bytes(most), "x")
    with pytest.raises(TooLargeError, match=rf"{most + 23:,} bytes.* at most {most:,} "):
        await way(connection, payload, {"X-Note": note})
    await connection.api("INFO")
    assert connection.link.breaks == breaks


async def test_the_largest_message_is_sent(wiring: Wiring) -> None:
    connection, subject = wiring.connection, f"_INBOX.{secrets.token_hex(8)}"
    async with connection.subscribe(subject) as arriving:
        await connection.publish(subject, bytes(connection.max_payload - 23), headers={"X-Note": "x"})
        assert len((await arriving.next(30)).data) == connection.max_payload - 23

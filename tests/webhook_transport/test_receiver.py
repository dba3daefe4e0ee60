"""Callbacks that are forged, replayed, late, out of order or repeated: refused, or handed on once and in order."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from broker_plane.transports.webhook.channel import CallbackChannel
from broker_plane.transports.webhook.receiver import WebhookReceiver
from broker_plane.web.server import HttpServer
from broker_plane.wire.webhook_signing import secret_of, signed_headers

pytestmark = pytest.mark.anyio

EXCHANGE = "x" + "a" * 32
REQUEST = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"_meta": {"progressToken": "mine"}}}


def progress(number: int) -> dict[str, Any]:
    params = {"progressToken": EXCHANGE, "progress": number}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


ANSWER = {"jsonrpc": "2.0", "id": EXCHANGE, "result": {"content": []}}


@dataclass
class Sender:
    """Sends to a served receiver what a front would, and what it would not."""

    http: httpx2.AsyncClient
    url: str
    channel: CallbackChannel
    secret: str
    lines: list[Any] = field(default_factory=list)

    async def send(self, number: int, message: Any, **changed: Any) -> int:
        """The status of the answer."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        message_id = changed.get("message_id", f"wS:{EXCHANGE}:{number}")
        stamp = int(time.time()) + changed.get("ahead", 0)
        headers = signed_headers(message_id, stamp, body, [changed.get("secret", self.secret)])
        headers |= changed.get("headers", {})
        answer = await self.http.post(self.url, content=changed.get("body", body), headers=headers)
        return answer.status_code

    async def heard(self) -> list[Any]:
        """What was handed on since the last time: the numbers of progress, and the ids of answers."""
        self.channel.close()
        found = [json.loads(line) async for line in self.channel.lines()]
        return [each["params"]["progress"] if "params" in each else each["id"] for each in found]


@pytest.fixture
async def sender(http: httpx2.AsyncClient) -> AsyncIterator[Sender]:
    secret = secret_of(secrets.token_bytes(32))
    channel, receiver = CallbackChannel([secret], 1 << 20), WebhookReceiver(max_message_bytes=1 << 20)
    channel.session = "wS"
    channel.expect(EXCHANGE, REQUEST)
    receiver.add("c", channel)
    async with HttpServer(receiver, stop_seconds=1) as server:
        yield Sender(http, f"{server.url}/c", channel, secret)


async def test_what_is_signed_is_handed_on_under_the_ids_of_the_caller(sender: Sender) -> None:
    assert await sender.send(1, progress(1)) == 200
    assert await sender.send(2, ANSWER) == 200
    sender.channel.close()
    lines = [json.loads(line) async for line in sender.channel.lines()]
    assert lines[0]["params"]["progressToken"] == "mine"
    assert lines[1]["id"] == 7


async def test_a_forged_message_is_refused(sender: Sender) -> None:
    other = secret_of(secrets.token_bytes(32))
    assert await sender.send(1, progress(1), secret=other) == 401
    assert await sender.send(1, progress(1), body=json.dumps(progress(2)).encode()) == 401
    assert await sender.send(1, progress(1), headers={"webhook-id": f"wS:{EXCHANGE}:2"}) == 401
    assert await sender.send(1, progress(1), headers={"webhook-signature": "v1,"}) == 401
    assert await sender.send(1, progress(1), headers={"webhook-timestamp": "now"}) == 401
    assert (await sender.http.post(sender.url, json=progress(1))).status_code == 401
    assert await sender.heard() == []


@pytest.mark.parametrize("ahead", [-301, 302, -86_400])
async def test_a_message_of_another_time_is_refused(sender: Sender, ahead: int) -> None:
    assert await sender.send(1, progress(1), ahead=ahead) == 401
    assert await sender.heard() == []


async def test_a_replayed_message_is_acknowledged_and_handed_on_once(sender: Sender) -> None:
    for _ in range(3):
        assert await sender.send(1, progress(1)) == 200
    for _ in range(3):
        assert await sender.send(2, ANSWER) == 200
    assert await sender.send(1, progress(1)) == 200
    assert await sender.heard() == [1, 7]


async def test_messages_out_of_order_are_handed_on_in_order(sender: Sender) -> None:
    assert await sender.send(3, progress(3)) == 200
    assert await sender.send(4, ANSWER) == 200
    assert await sender.send(2, progress(2)) == 200
    assert await sender.send(1, progress(1)) == 200
    assert await sender.heard() == [1, 2, 3, 7]


async def test_a_message_too_far_ahead_is_sent_again_later(sender: Sender) -> None:
    assert await sender.send(400, progress(400)) == 503
    assert await sender.heard() == []


async def test_a_reader_that_is_behind_lets_the_server_wait(sender: Sender) -> None:
    large = progress(1) | {"padding": "x" * (700 << 10)}
    assert await sender.send(1, large) == 200
    assert await sender.send(2, large) == 503
    assert await sender.heard() == [1]
    assert await sender.send(2, large) == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"jsonrpc":"2.0"}', b"[" * 100_000])
async def test_a_body_that_is_no_message_is_refused(sender: Sender, body: bytes) -> None:
    assert await sender.send(1, body) == 400
    assert await sender.heard() == []


async def test_a_body_that_is_too_large_is_refused(sender: Sender) -> None:
    assert await sender.send(1, b" " * ((1 << 20) + 1)) == 413


@pytest.mark.parametrize("message_id", ["evt_1", "wS:E", "wS:E:0", "wS:E:1:2", "wS:E:-1", "wS:E:1e3"])
async def test_an_id_of_another_form_is_refused(sender: Sender, message_id: str) -> None:
    assert await sender.send(1, progress(1), message_id=message_id) == 400


async def test_other_sessions_and_other_urls_are_not_found(sender: Sender) -> None:
    assert await sender.send(1, progress(1), message_id=f"wT:{EXCHANGE}:1") == 404
    sender.url += "else"
    assert await sender.send(1, progress(1)) == 404


async def test_messages_of_an_exchange_that_nobody_waits_for_are_dropped(sender: Sender) -> None:
    assert await sender.send(1, ANSWER, message_id="wS:xunknown:1") == 200
    assert await sender.heard() == []


async def test_after_a_rotation_both_secrets_count_and_then_only_the_new_one(sender: Sender) -> None:
    first, second = (secret_of(secrets.token_bytes(32)) for _ in range(2))
    sender.channel.trust(first)
    assert await sender.send(1, progress(1)) == 200
    assert await sender.send(2, progress(2), secret=first) == 200
    sender.channel.trust(second)
    assert await sender.send(3, progress(3)) == 401
    assert await sender.heard() == [1, 2]

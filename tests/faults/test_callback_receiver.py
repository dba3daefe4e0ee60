"""Callbacks that are forged, replayed, late, out of order or duplicated: refused, or handled once.

The front, the client and nats-server are processes; a relay between front and client keeps the genuine messages.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker_plane.testing.processes import Actor
from broker_plane.testing.server import NatsServer
from broker_plane.wire.webhook_signing import secret_of, signed_headers
from tests.carriers import serve_arguments
from tests.faults.callback_relay import CallbackRelay, Sent, callback_relay
from tests.faults.conftest import Stage
from tests.faults.keyed_server import place_of
from tests.ports import free_port

pytestmark = pytest.mark.anyio
SERVER = Path(__file__).with_name("keyed_server.py")
STEPS = 4
MESSAGES = STEPS + 1
STALE_SECONDS = 400
EXPECTED = [*range(1, STEPS + 1), "answer"]


@dataclass
class Caller:
    """The client's process, and the relay between it and the front."""

    process: Actor
    relay: CallbackRelay
    directory: Path

    async def call(self, key: str) -> list[Sent]:
        """Make a call, and return the front's messages about it, none of which the client has."""
        place = place_of(self.directory, key)
        place.mkdir(parents=True)
        (place / "open").write_text(str(STEPS))
        self.relay.sent.clear()
        self.process.tell(json.dumps({"key": key, "directory": str(self.directory), "steps": STEPS}))
        return await self.relay.has(MESSAGES)

    async def heard(self, key: str) -> list[Any]:
        """What the client is given of a call, up to the answer."""
        found: list[Any] = []
        while "answer" not in found:
            said = await self.process.said()
            assert said["key"] == key, said
            found.append("answer" if "result" in said else said["progress"])
        return found


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the seconds by which the client's clock is ahead."""
    file = tmp_path_factory.mktemp("clock") / "ahead"
    file.write_text("0")
    return file


@pytest.fixture
def step_clock(ahead: Path) -> Callable[[float], None]:
    """Sets the client's clock so many seconds ahead."""

    def step(seconds: float) -> None:
        ahead.write_text(str(seconds))

    return step


@pytest.fixture(scope="module")
async def caller(
    nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory, ahead: Path
) -> AsyncIterator[Caller]:
    stage, root, port = Stage(), tmp_path_factory.mktemp("caller"), free_port()
    ours = {"nats_url": nats_server.url, "data_dir": root, "webhook_networks": "127.0.0.0/8"}
    try:
        front = stage.run("broker_plane.cli.main", *serve_arguments("webhook", "called", port, str(SERVER)), **ours)
        await front.said(60)
        async with callback_relay() as relay:
            words = ["tests.faults.carrier_client", "webhook", f"http://127.0.0.1:{port}/mcp", root, relay.url]
            process = stage.run("tests.faults.skewed", ahead, *words)
            relay.receiver = (await process.said(60))["receiver"]
            assert "ready" in await process.said(60)
            relay.holds = True
            yield Caller(process, relay, root / "calls")
    finally:
        stage.close()


async def test_messages_out_of_order_are_handed_on_in_order(caller: Caller) -> None:
    messages = await caller.call("backwards")
    assert [await caller.relay.pass_on(message) for message in reversed(messages)] == [200] * MESSAGES
    assert await caller.heard("backwards") == EXPECTED


async def test_duplicates_are_acknowledged_and_handed_on_once(caller: Caller) -> None:
    for message in await caller.call("twice"):
        assert [await caller.relay.pass_on(message) for _ in range(3)] == [200] * 3
    assert await caller.heard("twice") == EXPECTED
    await nothing_more(caller)


async def test_messages_that_come_after_the_answer_are_not_handed_on(caller: Caller) -> None:
    late, *messages = await caller.call("late")
    for message in messages:
        await caller.relay.pass_on(message)
    await caller.relay.pass_on(late)
    assert await caller.heard("late") == EXPECTED
    for message in (late, *messages):
        assert await caller.relay.pass_on(message) == 200
    await nothing_more(caller)


async def test_forged_messages_are_refused_and_change_nothing(caller: Caller) -> None:
    messages = await caller.call("forged")
    answer = messages[-1]
    for forged in forgeries(answer):
        assert await caller.relay.pass_on(forged) in (400, 401, 404), forged.headers
    for message in messages:
        assert await caller.relay.pass_on(message) == 200
    assert await caller.heard("forged") == EXPECTED
    await nothing_more(caller)


async def test_a_message_is_refused_once_its_signature_is_old(
    caller: Caller, step_clock: Callable[[float], None]
) -> None:
    messages = await caller.call("old")
    for seconds in (STALE_SECONDS, -STALE_SECONDS):
        step_clock(seconds)
        assert {await caller.relay.pass_on(message) for message in messages} == {401}
    step_clock(0)
    assert {await caller.relay.pass_on(message) for message in messages} == {200}
    assert await caller.heard("old") == EXPECTED


def forgeries(genuine: Sent) -> list[Sent]:
    """What somebody without the secret can make of a message."""
    sent_id, stamp = genuine.headers["webhook-id"], genuine.headers["webhook-timestamp"]
    body = genuine.body.replace(b'"effect"', b'"effecT"')
    assert body != genuine.body
    other_key = signed_headers(sent_id, int(stamp), genuine.body, [secret_of(bytes(32))])
    session, exchange, number = sent_id.split(":")
    return [
        Sent(genuine.path, genuine.headers, body),
        Sent(genuine.path, {**genuine.headers, **other_key}, genuine.body),
        Sent(genuine.path, {"content-type": "application/json"}, genuine.body),
        Sent(f"{genuine.path}x", genuine.headers, genuine.body),
        genuine.with_header("webhook-id", f"{session}:{exchange}:{int(number) - 1}"),
        genuine.with_header("webhook-id", f"{session}:{exchange[:-1]}0:{number}"),
        genuine.with_header("webhook-timestamp", str(int(stamp) + 1)),
        genuine.with_header("webhook-signature", f"v1,{b64encode(bytes(32)).decode()}"),
        genuine.with_header("webhook-signature", f"v1a,{b64encode(bytes(32)).decode()} v1, v1,*"),
        genuine.with_header("webhook-signature", ""),
    ]


async def nothing_more(caller: Caller) -> None:
    """The client is given nothing of earlier calls: what it says next is about the next call."""
    key = f"after that {uuid4()}"
    for message in await caller.call(key):
        await caller.relay.pass_on(message)
    assert await caller.heard(key) == EXPECTED

"""A client that writes its own messages to NATS cannot use the rights of a server, or harm what others asked for."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from nats.aio.msg import Msg

from broker_plane.exchange.headers import DIGEST, LAST, REPLY, SESSION
from broker_plane.testing.server import NatsServer
from broker_plane.transports.nats.wire_form import HAVE, STATE
from tests.boundary.client import Client as NatsUser

pytestmark = pytest.mark.anyio

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "attacker", "version": "1"},
}
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "attacker", "version": "1"}}


def request(method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def call(tool: str, **arguments: Any) -> bytes:
    return request("tools/call", {"name": tool, "arguments": arguments, "_meta": META})


class Attacker:
    """A connection to NATS that hears everything on its inbox."""

    def __init__(self, user: NatsUser, server: str) -> None:
        self.nats = user.nats
        self.inside = f"bp.mcp.{server}.in"
        self.inbox = f"_INBOX.{secrets.token_hex(8)}.a"
        self._heard: list[Msg] = []

    async def hear(self, subject: str) -> list[Msg]:
        """What arrives on a subject from now on."""
        heard: list[Msg] = []

        async def take(message: Msg) -> None:
            heard.append(message)

        await self.nats.subscribe(subject, cb=take)
        await self.nats.flush()
        return heard

    async def ask(self, line: bytes, inbox: str, **headers: str) -> str:
        """Store a durable request, whose messages go to an inbox; returns `<session>.<exchange>`."""
        key = f"n{secrets.token_hex(16)}.{secrets.token_hex(16)}"
        headers |= {REPLY: inbox, "Nats-TTL": "60s"}
        stored = await self.nats.request(f"{self.inside}.ask.n.{key}", line, timeout=30, headers=headers)
        assert "error" not in json.loads(stored.data)
        return key


@pytest.fixture
async def attacker(served: str, nats_server: NatsServer) -> AsyncIterator[Attacker]:
    async with NatsUser(nats_server.url, "", inbox="_INBOX") as user:
        yield Attacker(user, served)


async def first(heard: list[Msg], header: str) -> Msg:
    """The first message with this header among what is heard."""
    with anyio.fail_after(30):
        while not (found := [each for each in heard if header in (each.headers or {})]):  # noqa: ASYNC110  # a callback
            await anyio.sleep(0.01)
    return found[0]


async def test_what_was_missed_goes_to_the_inbox_alone_that_was_checked(attacker: Attacker) -> None:
    record, inbox = await attacker.hear("payroll.>"), await attacker.hear(attacker.inbox)
    key = await attacker.ask(call("add", a=1), attacker.inbox, **{DIGEST: "so that the answer is stored"})
    await first(inbox, LAST)
    inbox.clear()
    to = {REPLY: attacker.inbox}
    await attacker.nats.publish(f"{attacker.inside}.resume.{key}", b'{"after": 0}', reply="payroll.9", headers=to)
    await first(inbox, STATE)
    assert record == []


async def test_acknowledgements_go_to_inboxes_alone(attacker: Attacker) -> None:
    record, inbox = await attacker.hear("$KV.secrets.>"), await attacker.hear(attacker.inbox)
    await attacker.nats.publish(
        f"{attacker.inside}.rpc.initialize", request("initialize", INITIALIZE), reply=attacker.inbox
    )
    opened = await first(inbox, SESSION)
    assert opened.headers is not None
    instance, session = opened.headers[SESSION].split(".")
    for name in ("nosuch", session):
        subject = f"{attacker.inside}.at.{instance}.{name}"
        await attacker.nats.publish(subject, b"", reply="$KV.secrets.k", headers={"Bp-End": "1"})
        # Messages are taken in order, so the answer to the next one shows that this one was taken.
        await attacker.nats.request(f"{attacker.inside}.at.{instance}.nosuch", b"", timeout=30)
    assert record == []


async def test_nobody_else_can_say_that_a_caller_has_its_answer(attacker: Attacker) -> None:
    """An answer that its caller has not got is stored, although an attacker knows where its own was acknowledged."""
    inbox = await attacker.hear(attacker.inbox)
    await attacker.ask(call("add", a=1), attacker.inbox)
    where = (await first(inbox, HAVE)).reply.rpartition(".")[0]
    inbox.clear()
    quiet = f"_INBOX.{secrets.token_hex(8)}.caller"
    await attacker.hear(quiet)  # somebody is there, who does not acknowledge
    key = await attacker.ask(call("add", a=2), quiet)
    state = ""
    with anyio.fail_after(30):
        while state != "answered":
            inbox.clear()
            for number in range(100):
                await attacker.nats.publish(f"{where}.{number}", b"")
            await attacker.nats.publish(f"{attacker.inside}.resume.{key}", b'{"after": 0}', reply=attacker.inbox)
            message = await first(inbox, STATE)
            assert message.headers is not None
            state = message.headers[STATE]

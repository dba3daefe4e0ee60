"""What an instance does with messages that no client of ours sends: it answers or drops them, and goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import nats
import pytest
from nats.aio.client import Client as RawClient
from nats.aio.msg import Msg

from broker_plane.config import Settings
from broker_plane.wire.exact_json import dumps, loads
from tests.transports.conftest import ENVELOPE, Connect, call_of

pytestmark = pytest.mark.anyio

_SESSION, _EXCHANGE = "n" + "s" * 22, "e" * 22


@pytest.fixture
async def raw(settings: Settings) -> AsyncIterator[RawClient]:
    connection = await nats.connect(settings.nats_url)
    yield connection
    await connection.close()


async def asked(raw: RawClient, subject: str, payload: bytes, **headers: str) -> list[Msg]:
    """The messages on the inbox of a request, up to the end marker."""
    inbox = f"{raw.new_inbox()}.{_SESSION}.{_EXCHANGE}"
    arrived = await raw.subscribe(inbox)
    await raw.publish(subject, payload, reply=inbox, headers=headers or None)
    found = [await arrived.next_msg(20)]
    while found[-1].data or found[-1].headers:
        found.append(await arrived.next_msg(20))
    await arrived.unsubscribe()
    return found[:-1]


def error_in(messages: list[Msg]) -> dict[str, Any]:
    (message,) = messages
    error: dict[str, Any] = loads(message.data)["error"]
    return error


async def test_a_request_of_another_program_gets_numbered_answers(raw: RawClient, served: str) -> None:
    request = call_of(7, "count", {"progressToken": 7}, to=2)
    *steps, answer = await asked(raw, f"bp.mcp.{served}.in.rpc.tools.call", dumps(request))
    assert [message.headers for message in steps] == [{"Bp-Seq": "1"}, {"Bp-Seq": "2"}]
    assert answer.headers == {"Bp-Seq": "3", "Bp-Last": "1"}
    assert loads(answer.data)["result"]["structuredContent"] == {"result": 2}


@pytest.mark.parametrize(
    ("method", "payload", "headers", "code"),
    [
        ("tools.list", b"{", {}, -32700),
        ("tools.list", b'"text"', {}, -32700),
        ("tools.list", b'{"jsonrpc":"2.0","id":[],"method":"tools/list"}', {}, -32600),
        ("tools.list", dumps(call_of(1, "add", a=1)), {}, -32020),
        ("tools.call", dumps(call_of(1, "add", a=1)), {"Mcp-Name": "other"}, -32020),
        ("tools.call", dumps(call_of(1, "add", a=1)), {"Mcp-Method": "tools/list"}, -32020),
        ("tools.list", b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', {}, -32602),
        ("tools.call", b"[" * 100_000, {}, -32700),
        ("initialize", b"{", {}, None),
    ],
)
async def test_a_request_that_is_not_valid_is_answered_with_an_error(
    raw: RawClient, served: str, method: str, payload: bytes, headers: dict[str, str], code: int | None
) -> None:
    if code is not None:
        assert error_in(await asked(raw, f"bp.mcp.{served}.in.rpc.{method}", payload, **headers))["code"] == code
    else:  # it is for the server that the session would have
        await raw.publish(f"bp.mcp.{served}.in.rpc.{method}", payload, reply=f"{raw.new_inbox()}.s.e")
    request = dumps(call_of(1, "add", a=1))
    (answer,) = await asked(raw, f"bp.mcp.{served}.in.rpc.tools.call", request)
    assert loads(answer.data)["result"]["structuredContent"] == {"result": 3}


@pytest.mark.parametrize("reply", ["$KV.bp_grants.x", "bp.mcp.other.out.n.s.e", "bp.feed.x", "_INBOX", "victim"])
async def test_nothing_is_published_to_what_is_no_inbox(raw: RawClient, served: str, reply: str) -> None:
    heard = await raw.subscribe(reply)
    request = dumps(call_of(1, "add", a=1))
    subject = f"bp.mcp.{served}.in.rpc.tools.call"
    await raw.publish(subject, request, reply=reply)
    await raw.publish(subject, request, reply=f"{raw.new_inbox()}.a.b", headers={"Bp-Reply": reply})
    ask = f"bp.mcp.{served}.in.ask.n.{_SESSION}.{raw._nuid.next().decode()}{reply.replace('.', '_').replace('$', '_')}"
    await raw.request(ask, request, timeout=5, headers={"Bp-Reply": reply, "Nats-TTL": "60s"})
    await asked(raw, subject, request)  # the others were before it
    with pytest.raises(TimeoutError):
        await heard.next_msg(0.3)


async def test_messages_to_places_that_do_not_exist_do_no_harm(raw: RawClient, served: str, connect: Connect) -> None:
    base = f"bp.mcp.{served}.in"
    for subject in (
        f"{base}.cancel.a.b",
        f"{base}.cancel.{_SESSION}.*",
        f"{base}.resume.a.b",
        f"{base}.resume.{_SESSION}.{_EXCHANGE}",
        f"{base}.attach.{_SESSION}.{_EXCHANGE}",
        f"{base}.got.*",
        f"{base}.got.x",
        f"{base}.have.x.y",
        f"{base}.at.x.y",
        f"{base}.more.x.y",
    ):
        for payload in (b"", b"{", b'{"after":-1}', b'{"after":"x"}', b"\xff" * 10_000):
            for headers in (None, {"Bp-Seq": "x"}, {"Bp-Durable": "1"}, {"Bp-Got": "9" * 400}):
                await raw.publish(subject, payload, reply=f"{raw.new_inbox()}.a.b", headers=headers)
    async with connect(served) as client:
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
    async with connect(served, "legacy") as client:
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


async def test_a_size_that_is_too_large_is_refused_before_its_parts(raw: RawClient, served: str) -> None:
    found = await asked(raw, f"bp.mcp.{served}.in.rpc.tools.call", b"", **{"Bp-Size": str(1 << 40)})
    assert "MAX_PROXY_MESSAGE_BYTES" in error_in(found)["message"]


async def test_the_trace_context_of_the_headers_reaches_the_tool(raw: RawClient, served: str) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"traceparent": parent, "tracestate": "a=b"}
    request = dumps(call_of(1, "trace"))
    (answer,) = await asked(raw, f"bp.mcp.{served}.in.rpc.tools.call", request, **headers)
    assert loads(answer.data)["result"]["structuredContent"] == {"result": f"{parent} a=b"}


@pytest.mark.parametrize("method", [["tools/call"], {}, 7, None])
async def test_a_durable_request_whose_method_is_no_text_is_answered(raw: RawClient, served: str, method: Any) -> None:
    inbox = f"{raw.new_inbox()}.{_SESSION}.{_EXCHANGE}"
    arrived = await raw.subscribe(inbox)
    ask = f"bp.mcp.{served}.in.ask.n.{_SESSION}.{raw._nuid.next().decode()}"
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": ENVELOPE}}
    await raw.request(ask, dumps(request), headers={"Bp-Reply": inbox, "Nats-TTL": "60s"})
    answer = await arrived.next_msg(20)
    assert loads(answer.data)["error"]["message"] == "This request cannot be durable"


async def test_a_durable_request_that_is_no_tool_call_is_answered_with_an_error(raw: RawClient, served: str) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}}
    inbox = f"{raw.new_inbox()}.{_SESSION}.{_EXCHANGE}"
    arrived = await raw.subscribe(inbox)
    exchange = raw._nuid.next().decode()
    ask = f"bp.mcp.{served}.in.ask.n.{_SESSION}.{exchange}"
    await raw.request(ask, json.dumps(request).encode(), headers={"Bp-Reply": inbox, "Nats-TTL": "60s"})
    with anyio.fail_after(20):
        answer = await arrived.next_msg(20)
    assert loads(answer.data)["error"]["message"] == "This request cannot be durable"

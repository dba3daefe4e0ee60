"""A host answers the requests that a carrier passes on: each era as it needs, with large results as bodies."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp.server.mcpserver import MCPServer

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import UpstreamError
from broker_plane.proxy.messages import Message
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import connected_rules
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.opening import in_process, open_upstream
from broker_plane.wire.exact_json import dumps, loads
from tests.proxy.conftest import there
from tests.transports import sample_server
from tests.transports.conftest import ENVELOPE, SAMPLE, call_of

pytestmark = pytest.mark.anyio

_ENDS = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["params"].get("name") == "end":
        break
    result = {"resultType": "complete", "content": []}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
"""A server that answers every request, and ends when its tool `end` is called."""

_HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@pytest.fixture(params=["python", pytest.param("command", marks=pytest.mark.full)])
async def host(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[ServerHost]:
    opened = in_process(sample_server.mcp) if request.param == "python" else open_upstream(["--", *SAMPLE])
    async with connected_rules(ProxyOptions(), settings) as rules:
        made = ServerHost(opened, rules)
        yield made
        await made.close()


async def messages_of(host: ServerHost, message: Message) -> list[Message]:
    async with host.request(message) as messages:
        return [each async for each in messages]


async def test_requests_share_an_upstream_under_their_own_ids(host: ServerHost) -> None:
    found: dict[str, list[Message]] = {}

    async def ask(key: str) -> None:
        found[key] = await messages_of(host, call_of(key, "count", {"progressToken": key}, to=2))

    async with anyio.create_task_group() as group:
        for key in ("a", "b"):
            group.start_soon(ask, key)
    for key in ("a", "b"):
        *steps, answer = found[key]
        assert [step["params"]["progress"] for step in steps] == [1, 2]
        assert {step["params"]["progressToken"] for step in steps} == {key}
        assert answer["id"] == key
        assert answer["result"]["structuredContent"] == {"result": 2}


async def test_a_block_that_ends_early_cancels_the_request(host: ServerHost, tmp_path: Any) -> None:
    path = tmp_path / "file"
    async with host.request(call_of(1, "wait_for", {"progressToken": 1}, path=str(path))) as messages:
        assert (await anext(messages))["method"] == "notifications/progress"
    with anyio.fail_after(20):
        await there(path.with_suffix(".cancelled"))


async def test_a_large_result_becomes_a_body(host: ServerHost, plane: Plane) -> None:
    (answer,) = await messages_of(host, call_of(1, "large", size=1_000_000))
    assert len(dumps(answer)) < 100_000
    assert len(await plane.pull(answer["result"]["structuredContent"]["resource_url"], via="nats")) == 1_000_000


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"_meta": ENVELOPE}}, -32600),
        ({"jsonrpc": "2.0", "id": [], "method": "tools/list", "params": {"_meta": ENVELOPE}}, -32600),
    ],
)
async def test_a_request_without_its_envelope_is_refused_and_harms_no_other(
    host: ServerHost, message: Message, code: int
) -> None:
    (refused,) = await messages_of(host, message)
    assert refused["error"]["code"] == code
    (answer,) = await messages_of(host, call_of(2, "add", a=1))
    assert answer["result"]["structuredContent"] == {"result": 3}


async def test_each_session_has_an_upstream_of_its_own(host: ServerHost) -> None:
    heard: dict[str, list[Message]] = {"a": [], "b": []}

    async def converse(name: str) -> None:
        lines = heard[name]

        async def to_client(line: bytes) -> None:
            lines.append(loads(line))

        async def until(count: int) -> None:
            with anyio.fail_after(30):
                while len(lines) < count:  # noqa: ASYNC110  # once, for a short time
                    await anyio.sleep(0.01)

        async with host.session(to_client) as session:
            hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": _HELLO}
            await session.from_client(dumps(hello) + b"\n")
            await until(1)
            await session.from_client(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
            request = call_of(1, "count", to=2)
            request["params"]["_meta"] = {"progressToken": name}
            await session.from_client(dumps(request) + b"\n")
            await session.settled(30)

    async with anyio.create_task_group() as group:
        for name in heard:
            group.start_soon(converse, name)
    for name, lines in heard.items():
        hello, *steps, answer = lines
        assert hello["result"]["serverInfo"]["name"] == "sample"
        assert [step["params"]["progressToken"] for step in steps] == [name, name]
        assert answer["result"]["structuredContent"] == {"result": 2}


async def test_an_upstream_that_ends_fails_its_requests_and_is_opened_again(settings: Settings) -> None:
    async with connected_rules(ProxyOptions(), settings) as rules:
        host = ServerHost(open_upstream(["--", sys.executable, "-c", _ENDS]), rules)
        with pytest.raises(UpstreamError, match="ended before it answered"):
            await messages_of(host, call_of(1, "end"))
        (answer,) = await messages_of(host, call_of(2, "add"))
        assert answer["result"] == {"resultType": "complete", "content": []}
        await host.close()


async def test_an_upstream_that_cannot_be_opened_is_an_error(settings: Settings) -> None:
    async with connected_rules(ProxyOptions(), settings) as rules:
        host = ServerHost(open_upstream(["--", f"{sys.executable}-that-is-not-there"]), rules)
        with pytest.raises(UpstreamError, match="cannot be started"):
            await messages_of(host, call_of(1, "add", a=1))
        with pytest.raises(UpstreamError, match="cannot be started"):
            async with host.session(lambda line: anyio.lowlevel.checkpoint()):
                pass
        await host.close()


async def test_text_that_is_no_unicode_is_refused_in_both_eras(host: ServerHost) -> None:
    [answer] = await messages_of(host, call_of(1, "length", text="\ud800"))
    assert "half of a surrogate pair" in answer["error"]["message"]
    send, receive = anyio.create_memory_object_stream[bytes](10)
    async with send, receive, host.session(send.send) as session:
        wrong = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "\udfff"}}
        await session.from_client(dumps(wrong) + b"\n")
        with anyio.fail_after(30):
            answer = loads(await receive.receive())
        assert (answer["id"], answer["error"]["code"]) == (2, -32600)
        emoji = {"jsonrpc": "2.0", "id": 3, "method": "ping", "params": {"text": "\U0001f600"}}
        await session.from_client(json.dumps(emoji).encode() + b"\n")
        with anyio.fail_after(30):
            assert loads(await receive.receive())["id"] == 3


async def test_an_answer_that_a_server_here_cannot_write_is_an_error(settings: Settings) -> None:
    server: MCPServer[Any] = MCPServer("half")

    @server.tool(structured_output=False)
    def half() -> str:
        return "\ud800"

    async with connected_rules(ProxyOptions(), settings) as rules:
        host = ServerHost(in_process(server), rules)
        with anyio.fail_after(30):
            [answer] = await messages_of(host, call_of(1, "half"))
        await host.close()
    assert answer["error"]["message"] == "The server's answer cannot be written as JSON"
    assert answer["id"] == 1


async def test_a_server_here_answers_what_it_cannot_read() -> None:
    async with in_process(sample_server.mcp)() as upstream, anyio.create_task_group() as group:
        group.start_soon(upstream.write, b'{"jsonrpc":"2.0","id":5,"method":"ping","params":7}\n')
        with anyio.fail_after(30):
            answer = loads(await anext(upstream.pieces()))
    assert (answer["id"], answer["error"]["code"]) == (5, -32600)

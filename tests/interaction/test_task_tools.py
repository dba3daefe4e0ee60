"""Task tools through the SDK's client: what their functions write, and what clients of each kind get."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

import anyio
import pytest
from mcp import Client
from mcp.client import advertise
from mcp.server.mcpserver import AcceptedElicitation, Elicit, Resolve, Sample
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ElicitResult, SamplingMessage, TextContent
from pydantic import BaseModel

from broker_plane import Plane, PlaneServer, TaskContext
from broker_plane.broker.connecting import connect
from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.testing.processes import until

from .tasks import TASKS, TakesTasks, ask, call, never, reached

pytestmark = pytest.mark.anyio
ROWS = 3_000
THREADS_OF_ANYIO = 40
MISSING = -32021


class Colour(BaseModel):
    colour: str


def ask_colour() -> Elicit[Colour]:
    return Elicit("Which?", Colour)


@dataclass
class Found:
    at: datetime


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return load_settings(
        nats_url=settings.nats_url,
        data_dir=settings.data_dir,
        task_lease_seconds=1,
        task_wait_seconds=30,
        max_inline_result_bytes=64 << 10,
    )


@pytest.fixture
def server(settings: Settings) -> PlaneServer:
    """Tasks belong to a server by its name."""
    return PlaneServer(f"test-{uuid4().hex[:12]}", settings=settings)


@asynccontextmanager
async def taking(server: PlaneServer, **options: Any) -> AsyncIterator[Client]:
    async with Client(server.mcp, extensions=[TakesTasks()], **options) as client:
        yield client


async def result_of(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    created = await call(client, tool, **arguments)
    assert created["resultType"] == "task", created
    ended = await reached(client, created["taskId"])
    assert ended["status"] == "completed", ended
    result: dict[str, Any] = ended["result"]
    return result


async def test_a_call_is_a_task_with_the_result_of_the_function(server: PlaneServer) -> None:
    @server.task_tool
    def add(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    async with taking(server) as client:
        created = await call(client, "add", a=1)
        assert set(created) - {"_meta"} == {
            *("resultType", "taskId", "status", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs"),
        }
        assert (created["resultType"], created["status"], created["ttlMs"]) == ("task", "working", 86_400_000)
        ended = await reached(client, created["taskId"])
        assert ended["resultType"] == "complete"
        assert ended["result"] == {
            "content": [{"type": "text", "text": "3"}],
            "structuredContent": {"result": 3},
            "isError": False,
            "resultType": "complete",
        }
        tool = next(tool for tool in (await client.list_tools()).tools if tool.name == "add")
        assert set(tool.input_schema["properties"]) == {"a", "b", "abstract_domains", "mode", "uses"}


async def test_wrong_arguments_are_an_error_at_once_and_no_task(server: PlaneServer) -> None:
    @server.task_tool
    def add(a: int) -> int:
        return a

    async with taking(server) as client:
        result = await call(client, "add", a="one")
        assert result["isError"] and "valid integer" in result["content"][0]["text"]


async def test_steps_return_what_their_annotations_say_in_every_run(server: PlaneServer) -> None:
    calls: list[str] = []

    def plain(name: str) -> Found:
        calls.append(name)
        return Found(datetime(2026, 1, 2))

    def raw() -> bytes:
        return b"\x00\xff"

    async def rows(count: int) -> list[dict[str, Any]]:
        calls.append("rows")
        return [{"n": n, "big": 1 << 70} for n in range(count)]

    @server.task_tool
    async def work(task: TaskContext) -> list[str]:
        first = await task.step("plain", plain, name="plain")
        second = await task.step("rows", rows, 2)
        third = await task.step("lambda", lambda: ("a", float("inf")))
        assert await task.step("raw", raw) == raw()
        outcome = await task.input("colour", Elicit("Which?", Colour))
        assert (first, second[1]["big"]) == (Found(datetime(2026, 1, 2)), 1 << 70)
        assert list(third) == ["a", float("inf")]
        return [outcome.action, *calls]

    async with taking(server, elicitation_callback=never) as client:
        created = await call(client, "work")
        waiting = await reached(client, created["taskId"], "input_required")
        assert waiting["inputRequests"]["colour"]["method"] == "elicitation/create"
        assert waiting["inputRequests"]["colour"]["params"]["requestedSchema"]["required"] == ["colour"]
        await ask(client, "update", created["taskId"], inputResponses={"colour": {"action": "decline"}})
        ended = await reached(client, created["taskId"])
    assert ended["result"]["structuredContent"] == {"result": ["decline", "plain", "rows"]}


async def test_an_answer_has_to_fit_its_question_and_may_be_given_again(server: PlaneServer) -> None:
    @server.task_tool
    async def paint(task: TaskContext) -> str:
        outcome = await task.input("colour", Elicit("Which?", Colour))
        assert outcome.action == "accept"
        return outcome.data.colour

    async with taking(server, elicitation_callback=never) as client:
        task_id = (await call(client, "paint"))["taskId"]
        await reached(client, task_id, "input_required")
        wrong: list[Any] = [
            {"action": "accept", "content": {"colour": 7}},
            {"action": "accept"},
            {"action": "perhaps"},
            {"action": "accept", "content": {"colour": "x" * 70_000}},
        ]
        for answer in wrong:
            with pytest.raises(MCPError) as caught:
                await ask(client, "update", task_id, inputResponses={"colour": answer})
            assert caught.value.error.code == -32602 and "colour" in caught.value.error.message
        for ignored in ({"unknown": {"ignored": True}}, {"unknown": 7}, {}):
            assert (await ask(client, "update", task_id, inputResponses=ignored))["resultType"] == "complete"
        right = {"action": "accept", "content": {"colour": "red"}}
        await ask(client, "update", task_id, inputResponses={"colour": right})
        assert (await reached(client, task_id))["result"]["content"][0]["text"] == "red"


async def test_a_question_that_the_client_cannot_answer_fails_the_task(server: PlaneServer) -> None:
    @server.task_tool
    async def think(task: TaskContext) -> str:
        question = Sample([SamplingMessage(role="user", content=TextContent(type="text", text="?"))], max_tokens=5)
        return str(await task.input("thought", question))

    async with taking(server, elicitation_callback=never) as client:
        ended = await reached(client, (await call(client, "think"))["taskId"])
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == MISSING and "sampling" in ended["statusMessage"]


async def test_errors_of_the_tool_complete_a_task_and_protocol_errors_fail_it(server: PlaneServer) -> None:
    @server.task_tool
    def fails() -> None:
        raise ValueError("no such file")

    @server.task_tool
    def refuses() -> None:
        raise MCPError(-32000, "not today", {"day": 1})

    @server.task_tool
    def exits() -> None:
        sys.exit(3)

    @server.task_tool
    def escaped(text: str) -> str:
        return ascii(text)

    async with taking(server) as client:
        result = await result_of(client, "exits")
        assert result["isError"] and "SystemExit(3)" in result["content"][0]["text"]
        assert (await result_of(client, "escaped", text="\ud800"))["structuredContent"] == {"result": r"'\ud800'"}
        result = await result_of(client, "fails")
        assert result["isError"] and "ValueError: no such file" in result["content"][0]["text"]
        ended = await reached(client, (await call(client, "refuses"))["taskId"])
    assert ended["error"] == {"code": -32000, "message": "not today", "data": {"day": 1}}
    assert "result" not in ended


async def test_a_large_table_is_a_body_with_a_descriptor(server: PlaneServer, settings: Settings) -> None:
    @server.task_tool(ttl=900)
    def table() -> list[dict[str, Any]]:
        return [{"n": n, "text": "x" * 40} for n in range(ROWS)]

    async with taking(server) as client:
        result = await result_of(client, "table")
        shape = json.loads(result["content"][0]["text"])
        assert (shape["total_rows"], shape["abstract"]) == (ROWS, [])
        assert result["_meta"]["io.broker-plane/transfer"]["endpoint"] == shape["resource_url"]
        abstract = json.loads((await result_of(client, "table", abstract_domains="n"))["content"][0]["text"])
        assert len(abstract["abstract"]) == 1_000
        async with Plane.connect(settings) as plane:
            body = (await plane.bodies.list())[-1]
            assert body.rows == ROWS and body.expires - body.created > 800


async def test_status_is_seen_while_a_task_works_and_cancellation_ends_it(server: PlaneServer) -> None:
    cleaned = asyncio.Event()

    @server.task_tool
    async def slow(task: TaskContext) -> None:
        await task.status("half")
        try:
            await anyio.sleep_forever()
        finally:
            assert task.cancelled
            cleaned.set()

    async with taking(server) as client:
        task_id = (await call(client, "slow"))["taskId"]

        async def half() -> bool:
            return (await ask(client, "get", task_id)).get("statusMessage") == "half"

        await until(half, "the status")
        found = await ask(client, "get", task_id)
        assert found["lastUpdatedAt"] > found["createdAt"]
        acknowledged = await ask(client, "cancel", task_id)
        assert set(acknowledged) - {"_meta"} == {"resultType"}
        assert (await reached(client, task_id))["status"] == "cancelled"
        assert cleaned.is_set()
        await ask(client, "cancel", task_id)
        assert (await ask(client, "get", task_id))["status"] == "cancelled"


async def test_a_client_without_the_extension_waits_for_a_plain_result(server: PlaneServer) -> None:
    @server.task_tool
    def add(a: int, b: int) -> int:
        return a + b

    @server.task_tool
    def refuses() -> None:
        raise MCPError(-32000, "not today")

    for mode in ("auto", "legacy"):
        async with Client(server.mcp, mode=mode) as client:
            result = await client.call_tool("add", {"a": 1, "b": 2})
            assert (result.structured_content, result.is_error) == ({"result": 3}, False)
            with pytest.raises(MCPError, match="not today"):
                await client.call_tool("refuses", {})


async def test_without_the_extension_a_long_task_is_an_error_and_is_cancelled(
    server: PlaneServer, settings: Settings
) -> None:
    @server.task_tool(wait=0.2)
    async def slow() -> None:
        await anyio.sleep_forever()

    @server.task_tool(wait="never")
    async def always() -> None:
        raise AssertionError

    @server.task_tool
    async def asks(task: TaskContext) -> None:
        await task.input("colour", Elicit("Which?", Colour))

    async with Client(server.mcp, elicitation_callback=never) as client, Plane.connect(settings) as plane:
        for tool in ("slow", "always", "asks"):
            with pytest.raises(MCPError) as caught:
                await client.call_tool(tool, {})
            assert caught.value.error.code == MISSING
            assert caught.value.error.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        for tool in ("slow", "asks"):

            async def cancelled(tool: str = tool) -> bool:
                found = await plane.tasks.list(server.mcp.name)
                return [each.status for each in found if each.tool == tool] == ["cancelled"]

            await until(cancelled, "the task to be cancelled")
        assert not [each for each in await plane.tasks.list(server.mcp.name) if each.tool == "always"]


async def test_questions_of_resolvers_are_answered_before_there_is_a_task(server: PlaneServer) -> None:
    """SEP-2663 with multi round-trip requests (SEP-2322): the SDK's client answers and calls again."""

    @server.task_tool
    async def paint(colour: Annotated[Colour, Resolve(ask_colour)], task: TaskContext) -> str:
        return f"{colour.colour} {bool(task.key)}"

    async def red(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"colour": "red"})

    async with Client(server.mcp, elicitation_callback=red) as client:
        result = await client.call_tool("paint", {})
        assert isinstance(result, CallToolResult) and result.structured_content == {"result": "red True"}


async def test_a_repeated_call_with_an_idempotency_key_is_one_task(server: PlaneServer) -> None:
    @server.task_tool
    async def pay(amount: int, task: TaskContext) -> str:
        return task.key

    meta = {"io.broker-plane/idempotencyKey": uuid4().hex}
    async with taking(server) as client:
        first, second = [await call(client, "pay", meta, amount=1) for _ in range(2)]
        assert first["taskId"] == second["taskId"]
        assert (await reached(client, first["taskId"]))["result"]["content"][0]["text"] == first["taskId"]


async def lifetime(settings: Settings, pattern: str) -> int:
    """For how many seconds nats-server keeps the entry of the tasks' bucket whose subject matches."""
    connection, stream = await connect(settings.nats_url, timeout=5), "KV_bp_tasks"
    question = json.dumps({"subjects_filter": pattern}).encode()
    found = json.loads((await connection.request(f"$JS.API.STREAM.INFO.{stream}", question)).data)
    (subject,) = found["state"]["subjects"]
    entry = await connection.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"")
    await connection.close()
    return int(str((entry.headers or {})["Nats-TTL"]).removesuffix("s"))


async def test_a_key_is_kept_for_as_long_as_its_task(server: PlaneServer, settings: Settings) -> None:
    @server.task_tool(ttl=1)
    async def pay(task: TaskContext) -> str:
        return task.key

    async with taking(server) as client:
        created = await call(client, "pay", {"io.broker-plane/idempotencyKey": uuid4().hex})
        await reached(client, created["taskId"])
    name = server.mcp.name
    record = await lifetime(settings, f"$KV.bp_tasks.h.{name}.*")
    assert await lifetime(settings, f"$KV.bp_tasks.k.{name}.*") >= record > 1


async def test_a_question_that_could_never_be_answered_is_an_error(server: PlaneServer) -> None:
    @server.task_tool
    async def in_step(task: TaskContext) -> str:
        async def asks() -> str:
            return str(await task.input("colour", ask_colour()))

        return await task.step("ask", asks)

    @server.task_tool
    async def until_red(task: TaskContext) -> str:
        while True:  # the same answer, again and again
            answer = await task.input("colour", ask_colour())
            if isinstance(answer, AcceptedElicitation) and answer.data.colour == "red":
                return "red"

    async with taking(server, elicitation_callback=never) as client:
        result = await result_of(client, "in_step")
        assert result["isError"] and "A step asks no question" in result["content"][0]["text"]
        created = await call(client, "until_red")
        await reached(client, created["taskId"], "input_required")
        answers = {"colour": {"action": "accept", "content": {"colour": "blue"}}}
        await ask(client, "update", created["taskId"], inputResponses=answers)
        result = (await reached(client, created["taskId"], seconds=10))["result"]
        assert result["isError"] and "Two questions of this task have the key" in result["content"][0]["text"]


async def test_plain_functions_that_block_keep_no_thread_from_other_tools(server: PlaneServer) -> None:
    go_on = threading.Event()
    running: list[int] = []

    @server.task_tool
    def blocks() -> None:
        running.append(threading.get_ident())
        go_on.wait()

    @server.mcp.tool()
    def quick() -> str:
        return "quick"

    async with taking(server) as client:
        try:
            blocked = [(await call(client, "blocks"))["taskId"] for _ in range(THREADS_OF_ANYIO + 1)]
            await until(lambda: len(running) == len(blocked), "all to run")
            assert (await call(client, "quick"))["content"][0]["text"] == "quick"
        finally:
            go_on.set()


async def test_a_tool_that_is_called_without_a_client_runs_directly(server: PlaneServer) -> None:
    @server.task_tool
    async def work(task: TaskContext) -> str:
        await task.status("half")
        return await task.step("one", lambda: "done")

    async with server.session():
        result = await server.mcp.call_tool("work", {})
    assert isinstance(result, CallToolResult) and result.structured_content == {"result": "done"}


async def test_the_extension_is_advertised_by_servers_with_task_tools_in_the_modern_era(server: PlaneServer) -> None:
    async with Client(server.mcp) as client:
        assert TASKS not in (client.server_capabilities.extensions or {})

    @server.task_tool
    def add(a: int) -> int:
        return a

    async with Client(server.mcp) as client:
        assert (client.server_capabilities.extensions or {})[TASKS] == {}
    async with Client(server.mcp, mode="legacy", extensions=[advertise(TASKS, {})]) as client:
        assert TASKS not in (client.server_capabilities.extensions or {})
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 1}


def test_a_wrong_declaration_says_what_to_write(server: PlaneServer) -> None:
    with pytest.raises(ConfigError, match="async def"):

        @server.task_tool
        def plain(task: TaskContext) -> None: ...

    with pytest.raises(ConfigError, match="several"):

        @server.task_tool
        async def twice(task: TaskContext, other: TaskContext) -> None: ...

    with pytest.raises(ConfigError, match="lifetime"):
        server.task_tool(ttl=0)
    source = load_settings(nats_url=server.settings.nats_url, role="source", bridge_url="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="role plane"):
        PlaneServer("source", settings=source).task_tool()

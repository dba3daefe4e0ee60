"""The Tasks extension on the wire: headers, errors, owners, and listeners at other instances."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Elicit
from mcp.server.subscriptions import ToolsListChanged
from mcp.shared.exceptions import MCPError
from pydantic import AnyHttpUrl, BaseModel

from broker_plane import Plane, PlaneServer, TaskContext
from broker_plane.config import Settings, load_settings
from broker_plane.web.server import HttpServer

from .tasks import TASKS, AnyParams, Fields, Listen, TakesTasks, ask, call, never, reached

pytestmark = pytest.mark.anyio
VERSION = "2026-07-28"
UNKNOWN = "A" * 24
MISMATCH, MISSING, INVALID, NO_METHOD = -32020, -32021, -32602, -32601

REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tasks/get", {}),
    ("tasks/update", {"inputResponses": {}}),
    ("tasks/cancel", {}),
)


class Approval(BaseModel):
    approve: bool


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, task_lease_seconds=1)


@pytest.fixture
def name() -> str:
    return f"test-{uuid4().hex[:12]}"


def make(name: str, settings: Settings, **options: Any) -> PlaneServer:
    """A process of the server; others of that name are other processes to it."""
    server = PlaneServer(name, settings=settings, **options)

    @server.task_tool
    async def send(task: TaskContext) -> str:
        await task.status("asking")
        outcome = await task.input("approve", Elicit("Send it?", Approval))
        return outcome.action

    @server.task_tool
    def add(a: int) -> int:
        return a + 1

    return server


@asynccontextmanager
async def serving(server: PlaneServer) -> AsyncIterator[str]:
    app = server.mcp.streamable_http_app()
    async with server.mcp.session_manager.run(), HttpServer(app) as http:
        yield f"{http.url}/mcp"


@asynccontextmanager
async def taking(where: Any, takes: TakesTasks | None = None) -> AsyncIterator[Client]:
    async with Client(where, extensions=[takes or TakesTasks()], elicitation_callback=never) as client:
        yield client


TLS = ssl.create_default_context()
"""For all clients of HTTP: each would load the certificates of this machine again."""


async def posted(
    url: str, method: str, params: dict[str, Any], declared: bool = True, key: str = "", **headers: str
) -> tuple[int, dict[str, Any]]:
    """The status and the error, or the result, of one raw request, which has the idempotency key `key`."""
    capabilities: dict[str, Any] = {"extensions": {TASKS: {}}} if declared else {}
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        **({"io.broker-plane/idempotencyKey": key} if key else {}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params | {"_meta": meta}}
    sent = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
        **{key.replace("_", "-"): value for key, value in headers.items()},
    }
    async with httpx2.AsyncClient(verify=TLS) as http:
        response = await http.post(url, json=body, headers=sent)
    answer = response.json()
    found: dict[str, Any] = answer.get("error") or answer["result"]
    return response.status_code, found


async def test_requests_about_tasks_on_the_wire(name: str, settings: Settings) -> None:
    async with serving(make(name, settings)) as url, taking(url) as client:
        task_id = (await call(client, "send"))["taskId"]
        await reached(client, task_id, "input_required")
        known = {"taskId": task_id}
        assert (await posted(url, "tasks/get", known, mcp_name=task_id))[1]["status"] == "input_required"
        # fastmcp-tasks 4.1.4 sends no Mcp-Name.
        assert (await posted(url, "tasks/get", known))[1]["status"] == "input_required"
        for method, more in REQUESTS:
            assert (await posted(url, method, known | more, mcp_name=UNKNOWN))[1]["code"] == MISMATCH
            status, error = await posted(url, method, known | more, declared=False)
            assert (status, error["code"]) == (400, MISSING)
            assert error["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            for wrong in (UNKNOWN, "", "x" * 10_000, "a.b", "*", ">"):
                error = (await posted(url, method, more | {"taskId": wrong}))[1]
                assert error["code"] == INVALID and "Call the tool again" in error["message"]
            assert (await posted(url, method, more | {"taskId": 7}))[1]["code"] == INVALID
        for removed in ("tasks/list", "tasks/result"):
            assert (await posted(url, removed, known))[1]["code"] == NO_METHOD
        assert (await posted(url, "tasks/update", known | {"inputResponses": []}))[1]["code"] == INVALID
        listen: dict[str, Any] = {"notifications": {"taskIds": [task_id]}}
        assert (await posted(url, "subscriptions/listen", listen, declared=False))[1]["code"] == MISSING
        wrong_ids: list[Any] = ["x", 0, {}, [[7]], [str(n) for n in range(1_001)]]
        for ids in wrong_ids:
            listen = {"notifications": {"taskIds": ids}}
            assert (await posted(url, "subscriptions/listen", listen))[1]["code"] == INVALID
        assert (await posted(url, "subscriptions/listen", {"notifications": "x"}))[1]["code"] == INVALID
        wrong_answers: list[Any] = ["x", [], None, 7]
        for wrong_answer in wrong_answers:
            error = (await posted(url, "tasks/update", known | {"inputResponses": {"approve": wrong_answer}}))[1]
            assert error["code"] == INVALID and "approve" in error["message"]


async def test_a_legacy_task_parameter_changes_nothing(name: str, settings: Settings) -> None:
    server = make(name, settings)

    @server.mcp.tool()
    def plain() -> str:
        return "plain"

    async with serving(server) as url:
        called = {"name": "plain", "arguments": {}, "task": {"ttl": 1_000}}
        result = (await posted(url, "tools/call", called, mcp_name="plain"))[1]
        assert (result["resultType"], result["content"][0]["text"]) == ("complete", "plain")


async def test_the_handshake_era_has_no_such_requests(name: str, settings: Settings) -> None:
    async with Client(make(name, settings).mcp, mode="legacy") as client:
        with pytest.raises(MCPError) as caught:
            await ask(client, "get", UNKNOWN)
        assert caught.value.error.code == NO_METHOD


class Verifier:
    """The token is the name of the client and of the subject."""

    async def verify_token(self, token: str) -> AccessToken | None:
        client_id, _, subject = token.partition(":")
        return AccessToken(token=token, client_id=client_id, scopes=[], subject=subject or None)


async def test_a_task_belongs_to_the_client_and_the_subject_of_its_token(name: str, settings: Settings) -> None:
    auth = AuthSettings(
        issuer_url=AnyHttpUrl("https://issuer.example"),
        resource_server_url=AnyHttpUrl("http://127.0.0.1/mcp"),
        validate_token_resource=False,
    )
    server = make(name, settings, token_verifier=Verifier(), auth=auth)
    async with serving(server) as url:
        called = {"name": "send", "arguments": {}}
        created = (await posted(url, "tools/call", called, mcp_name="send", authorization="Bearer app:ann"))[1]
        known = {"taskId": created["taskId"]}
        assert (await posted(url, "tasks/get", known, authorization="Bearer app:ann"))[1]["taskId"] == created["taskId"]
        for other in ("app:bob", "app", "other:ann"):
            for method, more in REQUESTS:
                error = (await posted(url, method, known | more, authorization=f"Bearer {other}"))[1]
                assert error["code"] == INVALID
        assert (await posted(url, "tasks/get", known, authorization="Bearer app:ann"))[1]["status"] != "cancelled"


@asynccontextmanager
async def listening(client: Client, takes: TakesTasks, *task_ids: str) -> AsyncIterator[Any]:
    """`await heard(status)` is the notification with that status."""
    request = Listen(params=AnyParams.model_validate({"notifications": {"taskIds": list(task_ids)}}))
    stream = asyncio.create_task(client.session.send_request(request, Fields))

    async def heard(status: str) -> dict[str, Any]:
        with anyio.fail_after(60):
            while not (found := [each for each in takes.heard if each["status"] == status]):
                with anyio.move_on_after(0.2):
                    await takes.changed.wait()
        return found[-1]

    try:
        yield heard
    finally:
        stream.cancel()


async def damage(plane: Plane, name: str, task_id: str, what: str, content: bytes) -> None:
    """Replace what is stored of a task."""
    connection = plane.wiring.connection
    await connection.store(f"$KV.{connection.names.tasks_bucket}.{what[0]}.{name}.{task_id}{what[1:]}", content)


async def test_a_listener_at_another_instance_hears_every_state_of_its_own_tasks(
    name: str, settings: Settings, plane: Plane
) -> None:
    takes = TakesTasks()
    async with (
        serving(make(name, settings)) as url,
        serving(make(name, settings)) as elsewhere,
        taking(url) as client,
        taking(elsewhere, takes) as other,
    ):
        task_id, unheard = [(await call(client, "send"))["taskId"] for _ in range(2)]
        record, lost = [(await call(client, "add", a=1))["taskId"] for _ in range(2)]
        await reached(client, record)
        result = (await reached(client, lost)) and (await plane.tasks.get(lost)).result
        await damage(plane, name, record, "h", b"{")
        await damage(plane, name, lost, f"v.{result}", b"={")
        async with listening(other, takes, record, lost, task_id, UNKNOWN) as heard:
            waiting = await heard("input_required")
            assert waiting["inputRequests"]["approve"]["method"] == "elicitation/create"
            for each in (unheard, task_id):
                await ask(client, "update", each, inputResponses={"approve": {"action": "decline"}})
            ended = await heard("completed")
            polled = await ask(other, "get", task_id)
        shown = {key: value for key, value in polled.items() if key not in ("_meta", "resultType")}
        assert {key: value for key, value in ended.items() if key != "_meta"} == shown
        assert ended["result"]["content"][0]["text"] == "decline"
        assert {each["taskId"] for each in takes.heard} == {task_id}
        assert all("io.modelcontextprotocol/subscriptionId" in each["_meta"] for each in takes.heard)


async def test_the_acknowledgement_names_the_tasks_that_are_sent_and_other_events_come_too(
    name: str, settings: Settings
) -> None:
    server = make(name, settings)

    @server.mcp.tool()
    async def more(ctx: Any = None) -> None: ...

    async with serving(server) as url, taking(url) as client:
        task_id = (await call(client, "send"))["taskId"]
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
        }
        wanted = {"taskIds": [UNKNOWN, task_id, task_id], "toolsListChanged": True}
        params = {"notifications": wanted, "_meta": meta}
        body = {"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params}
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": VERSION}
        headers["mcp-method"] = "subscriptions/listen"
        async with (
            httpx2.AsyncClient(verify=TLS) as http,
            http.stream("POST", url, json=body, headers=headers) as response,
        ):
            lines = response.aiter_lines()
            with anyio.fail_after(30):
                acknowledged = await said(lines)
                assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
                assert acknowledged["params"]["notifications"] == {"taskIds": [task_id], "toolsListChanged": True}
                first = await said(lines)
                assert (first["method"], first["params"]["taskId"]) == ("notifications/tasks", task_id)
                await server.mcp._subscriptions.publish(ToolsListChanged())
                while (event := await said(lines))["method"] == "notifications/tasks":
                    assert event["params"]["taskId"] == task_id
                assert event["method"] == "notifications/tools/list_changed"
                assert event["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 7}


async def said(lines: AsyncIterator[str]) -> dict[str, Any]:
    """The next message of a stream of server-sent events."""
    async for line in lines:
        if line.startswith("data:") and line.strip() != "data:":
            parsed: dict[str, Any] = json.loads(line.removeprefix("data:"))
            return parsed
    raise AssertionError("The stream has ended")

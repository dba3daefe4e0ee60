"""`broker-plane tasks`: what an operator sees of the tasks of all servers, and cancels."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import anyio.to_thread
import pytest
from mcp.shared.exceptions import MCPError
from typer.testing import CliRunner

from broker_plane import Plane
from broker_plane.cli.main import app_of
from broker_plane.config import Settings

from .tasks import ask, call, reached
from .test_task_protocol import make, taking

pytestmark = pytest.mark.anyio


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`await command("ls")` is the JSON that the command prints."""
    monkeypatch.setenv("BROKER_PLANE_NATS_URL", settings.nats_url)
    monkeypatch.setenv("BROKER_PLANE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("BROKER_PLANE_BRIDGE_URL", "http://127.0.0.1:1")

    async def run(*words: str) -> Any:
        done = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(app_of("tasks"), ["tasks", *words, "--json"]))
        return json.loads(done.stdout if done.exit_code == 0 else done.stderr)

    return run


async def test_an_operator_lists_shows_and_cancels_tasks_of_any_client(settings: Settings, command: Any) -> None:
    name = f"test-{uuid4().hex[:12]}"
    server = make(name, settings)

    @server.task_tool
    def odd() -> None:
        raise MCPError(-32000, "odd", ["\ud800", 10**40])

    async with taking(server.mcp) as client:
        task_id = (await call(client, "send"))["taskId"]
        await reached(client, task_id, "input_required")
        done = (await call(client, "add", a=1))["taskId"]
        await reached(client, done)
        assert {each["id"]: each["status"] for each in await command("ls", "--server", name)} == {
            task_id: "input_required",
            done: "completed",
        }
        assert [each["id"] for each in await command("ls", "--server", name, "--status", "completed")] == [done]
        shown = await command("show", task_id)
        assert (shown["server"], shown["tool"], shown["statusMessage"]) == (name, "send", "asking")
        assert list(shown["inputRequests"]) == ["approve"]
        assert (await command("show", done))["result"]["structuredContent"] == {"result": 2}
        odd_id = (await call(client, "odd"))["taskId"]
        await reached(client, odd_id)
        assert (await command("show", odd_id))["error"]["data"] == ["\ud800", 10**40]
        assert (await command("cancel", task_id))["status"] == "cancelled"
        assert (await ask(client, "get", task_id))["status"] == "cancelled"
        assert (await command("show", "A" * 24))["error"]["code"] == "task_not_found"


async def test_listing_and_cancelling_in_python(settings: Settings, plane: Plane) -> None:
    name = f"test-{uuid4().hex[:12]}"
    async with taking(make(name, settings).mcp) as client:
        task_id = (await call(client, "send"))["taskId"]
        await reached(client, task_id, "input_required")
        assert [each.id for each in await plane.tasks.list(name, "input_required")] == [task_id]
        assert (await plane.tasks.cancel(task_id)).status == "cancelled"

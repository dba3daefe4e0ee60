"""A client of asyncmcp 0.2.1, which exists, in its own environment; and what is refused to such clients."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from tests.forked import MCP, run
from tests.interop.environments import python_with
from tests.webhook_transport.conftest import Serve
from tests.webhook_transport.world import counted

pytestmark = pytest.mark.anyio

HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
PROGRAM = Path(__file__).with_name("asyncmcp_client.py")


def initialize(callback: str) -> dict[str, Any]:
    params = HELLO | {"_meta": {"webhookUrl": callback}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


@asynccontextmanager
async def compatible(serve: Serve) -> AsyncIterator[str]:
    """A front for them, which may send to no other place."""
    async with serve(asyncmcp_clients=True, webhook_networks="") as front:
        yield f"{front}/request"


async def test_their_client_initializes_lists_and_calls(serve: Serve) -> None:
    python = python_with("asyncmcp-0.2.1", "asyncmcp==0.2.1", "mcp<2")
    async with compatible(serve) as url:
        question = json.dumps({"url": url}).encode()
        done = await anyio.run_process([str(python), str(PROGRAM)], input=question, stderr=None)
        hello, tools, called = json.loads(done.stdout)
        assert hello["result"]["serverInfo"]["name"] == "sample"
        assert "add" in [tool["name"] for tool in tools["result"]["tools"]]
        assert called["result"]["structuredContent"] == {"result": 5}


async def test_without_the_setting_there_is_no_such_route(front: str, http: httpx2.AsyncClient) -> None:
    answer = await http.post(f"{front}/request", json=initialize("http://127.0.0.1:1/"), headers={"x-client-id": "a"})
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("url", ["https://93.184.215.14/hook", "http://169.254.169.254/", "http://10.0.0.1/"])
async def test_a_callback_that_leaves_this_machine_is_refused(serve: Serve, http: httpx2.AsyncClient, url: str) -> None:
    async with compatible(serve) as front:
        answer = await http.post(front, json=initialize(url), headers={"x-client-id": "a"})
        assert answer.status_code == 403
        assert "to this machine only" in answer.json()["error"]["message"]


async def test_their_sessions_end_with_delete_and_ours_are_not_theirs(serve: Serve, http: httpx2.AsyncClient) -> None:
    async with compatible(serve) as front, counted() as found:
        headers = {"x-client-id": "a"}
        assert (await http.post(front, json=initialize(f"http://127.0.0.1:{found[0]}/"))).status_code == 400
        opened = await http.post(front, json=initialize(f"http://127.0.0.1:{found[0]}/"), headers=headers)
        assert opened.json()["status"] == "session_created"
        headers["x-session-id"] = opened.json()["session_id"]
        await until(lambda: found[1:], "an attempt to send the answer")
        assert (await http.delete(front, headers=headers)).json() == {"status": "terminated"}
        assert (await http.delete(front, headers=headers)).status_code == 404
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await http.post(front, json=ping, headers=headers)).status_code == 404


@pytest.mark.parametrize("on", [True, False])
async def test_doctor_names_the_mode(nats_server: NatsServer, tmp_path: Path, on: bool) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")},
        "BROKER_PLANE_NATS_URL": nats_server.url,
        "BROKER_PLANE_DATA_DIR": str(tmp_path),
        "BROKER_PLANE_ASYNCMCP_CLIENTS": str(on).lower(),
    }
    doctor = partial(run, "broker_plane.cli.main", "doctor", "--json", env=environment, preloaded=MCP)
    done = await anyio.to_thread.run_sync(doctor)
    assert ("asyncmcp" in json.loads(done.stdout)) is on

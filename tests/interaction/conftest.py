"""A resource server and a consumer server in this process, and how an agent calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pytest
from mcp import Client
from mcp.types import CallToolResult

from broker_plane import PlaneServer
from broker_plane.config import Settings

Agent = Callable[..., Awaitable[CallToolResult]]


@pytest.fixture
def server(settings: Settings) -> PlaneServer:
    return PlaneServer("test", settings=settings)


@pytest.fixture
async def agent(server: PlaneServer) -> AsyncIterator[Agent]:
    """`await agent("tool", argument=…)` calls a tool of `server`, which may get more tools until then."""
    clients: list[Client] = []

    async def call(tool: str, **arguments: Any) -> CallToolResult:
        if not clients:
            clients.append(await Client(server.mcp).__aenter__())
        return await clients[0].call_tool(tool, arguments)

    yield call
    for client in clients:
        await client.__aexit__(None, None, None)


def text_of(result: CallToolResult) -> str:
    block = result.content[0]
    assert block.type == "text"
    return block.text


def shape_of(result: CallToolResult) -> dict[str, Any]:
    """The JSON of a result that is no error."""
    assert not result.is_error, text_of(result)
    parsed: dict[str, Any] = json.loads(text_of(result))
    return parsed


def error_of(result: CallToolResult) -> str:
    assert result.is_error
    return text_of(result)


Forked = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    """Commands run in processes that need not import anything any more."""
    script = str(Path(__file__).with_name("forked_commands.py"))
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, script], **pipes, text=True) as process:
        told, said = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)

        def run(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
            told.write(json.dumps(cases) + "\n")
            told.flush()
            done: list[dict[str, Any]] = json.loads(said.readline())
            return done

        yield run
        told.close()
        process.wait(60)

"""Processes of one server with task tools over HTTP, and clients of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.forked import MCP, ForkedActor
from tests.ports import free_port

from .tasks import TakesTasks, never


class TaskServer(ForkedActor):
    """One process of the server `name`."""

    preloaded = MCP

    def __init__(self, name: str, nats_url: str, directory: Path, lease_seconds: float = 1, port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        super().__init__(
            "tests.interaction.task_server",
            self.port,
            name,
            BROKER_PLANE_NATS_URL=nats_url,
            BROKER_PLANE_DATA_DIR=directory,
            BROKER_PLANE_TASK_LEASE_SECONDS=lease_seconds,
            BROKER_PLANE_BRIDGE_URL="http://127.0.0.1:1",
        )

    async def ready(self) -> None:
        with anyio.fail_after(60):
            while True:
                try:
                    async with await anyio.connect_tcp("127.0.0.1", self.port):
                        return
                except OSError:
                    await anyio.sleep(0.02)


@asynccontextmanager
async def started(*servers: TaskServer) -> AsyncIterator[None]:
    """The servers answer at the begin of the block, and have ended after it."""
    try:
        for server in servers:
            await server.ready()
        yield
    finally:
        for server in servers:
            with closing(server):
                pass


@asynccontextmanager
async def client_of(server: TaskServer, takes: TakesTasks | None = None) -> AsyncIterator[Client]:
    transport = streamable_http_client(server.url)
    extension = takes or TakesTasks()
    async with Client(transport, extensions=[extension], elicitation_callback=never) as client:
        yield client

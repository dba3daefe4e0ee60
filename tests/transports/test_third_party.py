"""A third party's carrier stands on the same exchanges: the SDK's client calls over it, whatever breaks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from mcp.client import Client

from broker_plane.config import Settings
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import connected_rules
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.testing.processes import until
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.opening import in_process
from broker_plane.transports.sdk_streams import client_streams
from tests.ports import free_port
from tests.transports import sample_server
from tests.transports.tcp_carrier import TcpFront, tcp_upstream

pytestmark = pytest.mark.anyio


class Fronts:
    """Fronts of one server at one port, one after another."""

    def __init__(self, wiring: Wiring, settings: Settings) -> None:
        self._wiring = wiring
        self._settings = settings
        self.port = free_port()
        self._name = f"s{secrets.token_hex(6)}"
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        connection = self._wiring.connection
        async with connected_rules(ProxyOptions(), self._settings) as rules:
            host = ServerHost(in_process(sample_server.mcp), rules)
            front = TcpFront(NatsExchanges(connection), self._name, host, connection.clock.now)

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self._open.add(writer)
                try:
                    await front.serve(reader, writer)
                finally:
                    self._open.discard(writer)
                    writer.close()

            working = asyncio.create_task(front.worker.run())
            server = await asyncio.start_server(serve, "127.0.0.1", self.port)
            try:
                yield
            finally:
                server.close()
                self.cut()
                await cancel_and_forget(working)
                await host.close()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._open:
            writer.transport.abort()


@pytest.fixture
def fronts(wiring: Wiring, settings: Settings) -> Fronts:
    return Fronts(wiring, settings)


async def test_a_client_calls_tools_over_it_with_progress(fronts: Fronts) -> None:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with (
        fronts.running(),
        Client(client_streams(partial(tcp_upstream, fronts.port)), mode="2026-07-28") as client,
    ):
        result = await client.call_tool("count", {"to": 3}, progress_callback=note)
        assert result.structured_content == {"result": 3}
        assert steps == [1, 2, 3]
        assert [tool.name for tool in (await client.list_tools()).tools][:2] == ["add", "process"]


async def test_a_call_outlives_its_connections_and_its_front(fronts: Fronts, tmp_path: Path) -> None:
    path, begun = tmp_path / "file", tmp_path / "begun"
    async with Client(client_streams(partial(tcp_upstream, fronts.port)), mode="2026-07-28") as client:
        async with fronts.running():
            call = asyncio.create_task(client.call_tool("wait_for", {"path": str(path), "begun": str(begun)}))
            await until(begun.exists, "the call to begin")
            fronts.cut()
            assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
        begun.unlink()
        async with fronts.running():
            await until(begun.exists, "the next front to go on")
            path.write_text("found")
            assert (await asyncio.wait_for(call, 60)).structured_content == {"result": "found"}

"""An error of ours in a tool is one line on stderr; an unexpected exception of the author's keeps its traceback."""

from __future__ import annotations

import logging

import pytest
from mcp import Client

from broker_plane.config import Settings
from broker_plane.errors import EmbeddedError
from broker_plane.mcp_server.server import PlaneServer

pytestmark = pytest.mark.anyio
ADVICE = "Install nats-server, or set BROKER_PLANE_NATS_URL"


async def test_an_error_of_ours_is_one_line(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    server = PlaneServer("errors", settings=settings)

    @server.mcp.tool()
    async def own() -> str:
        raise EmbeddedError(ADVICE)

    @server.mcp.tool()
    async def unexpected() -> str:
        raise KeyError("password")

    with caplog.at_level(logging.WARNING):
        async with Client(server.mcp) as client:
            result = await client.call_tool("own", {})
            assert result.is_error
            assert [block.text for block in result.content if block.type == "text"] == [
                f"Error executing tool own: {ADVICE}"
            ]
            (record,) = caplog.records
            assert record.exc_info is None
            assert record.getMessage() == f"The tool own failed: {ADVICE}"
            caplog.clear()
            result = await client.call_tool("unexpected", {})
            assert result.is_error
            assert any(record.exc_info for record in caplog.records)
            assert "password" not in str(result.content)

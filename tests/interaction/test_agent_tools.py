"""A model finds agents with the tool `search_agents`, within a token budget."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from mcp import Client

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.mcp_server.plane_tools import plane_server
from broker_plane.reading.tokens import DEFAULT_TOKENS, TOKEN_BYTES
from broker_plane.wire.exact_json import dumps

pytestmark = pytest.mark.anyio


def profile(agent_id: str, **members: Any) -> dict[str, Any]:
    served = {"protocol_id": "https", "endpoint": "https://crm.example/v1", "formats": ["text/csv"], "modes": ["fetch"]}
    return {"agent_id": agent_id, "serves": [served], "consumes": ["sse"], "ttl": 600} | members


async def found(client: Client, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool("search_agents", arguments)
    assert not result.is_error, result.content
    return result.structured_content or {}


async def test_a_model_finds_agents_by_what_they_serve_and_consume(settings: Settings, plane: Plane) -> None:
    agent_id = f"t{uuid4().hex}"
    async with Client(plane_server(settings).mcp) as client, plane.agents.announce(profile(agent_id)):
        (agent,) = (await found(client, text=agent_id, serves="https", format="text/*"))["agents"]
        assert agent == {
            "agent_id": agent_id,
            "name": "",
            "serves": profile(agent_id)["serves"],
            "consumes": ["sse"],
            "level2": False,
        }
        assert len((await found(client, text=agent_id, consumes="sse"))["agents"]) == 1
        assert await found(client, text=agent_id, serves="sse") == {"agents": [], "more": False}
        for wrong in ({"serves": "https", "consumes": "sse"}, {"consumes": "sse", "format": "text/csv"}):
            assert (await client.call_tool("search_agents", wrong)).is_error


async def test_long_announcements_do_not_fill_the_context(settings: Settings, plane: Plane) -> None:
    prefix = f"t{uuid4().hex[:8]}"
    long = [
        {"protocol_id": "https", "endpoint": f"https://crm.example/{'path/' * 80}{number}", "modes": ["fetch"]}
        for number in range(20)
    ]
    async with AsyncExitStack() as stack:
        for number in range(8):
            await stack.enter_async_context(plane.agents.announce(profile(f"{prefix}-{number}", serves=long)))
        client = await stack.enter_async_context(Client(plane_server(settings).mcp))
        answer = await found(client, text=prefix)
    assert 0 < len(answer["agents"]) < 8
    assert {agent["serves_more"] for agent in answer["agents"]} == {16}
    assert answer["more"]
    assert len(dumps(answer)) < (DEFAULT_TOKENS + 100) * TOKEN_BYTES

"""How many tools may take a body: the model says it, and results and errors lead it to the right call."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import Client

from broker_plane import PlaneServer
from broker_plane.config import Settings
from tests.interaction.conftest import Agent, error_of, shape_of, text_of

pytestmark = pytest.mark.anyio

ROWS = [{"n": 1, "text": "x"}, {"n": 2, "text": "y"}]


@pytest.fixture
def tools(server: PlaneServer) -> PlaneServer:
    @server.resource_tool
    def orders() -> list[dict[str, Any]]:
        return ROWS

    @server.consumer_tool
    def chart(rows: list[dict[str, Any]]) -> int:
        return len(rows)

    @server.consumer_tool
    def count(rows: list[dict[str, Any]]) -> int:
        return len(rows)

    return server


async def test_a_second_tool_is_told_which_call_gives_it_the_rows(tools: PlaneServer, agent: Agent) -> None:
    shape = shape_of(await agent("orders", abstract_domains="n"))
    assert shape["next_step"].endswith("For two tools, repeat this call with uses=2")
    assert text_of(await agent("chart", resource_url=shape["resource_url"])) == "2"
    error = error_of(await agent("count", resource_url=shape["resource_url"]))
    assert "it was for 1 delivery. Call the resource tool again with uses=2 or more" in error


@pytest.mark.parametrize("uses", [2, "2", 0, "unlimited"])
async def test_the_model_says_how_many_tools_take_a_body(tools: PlaneServer, agent: Agent, uses: Any) -> None:
    shape = shape_of(await agent("orders", abstract_domains="n", uses=uses))
    for tool in ("chart", "count"):
        assert text_of(await agent(tool, resource_url=shape["resource_url"])) == "2"
    again = await agent("chart", resource_url=shape["resource_url"])
    if uses in (2, "2"):
        assert "it was for 2 deliveries" in error_of(again)
        assert "to 2 tools" in shape["next_step"]
    else:
        assert not again.is_error
        assert "as often as needed" in shape["next_step"]


async def test_the_author_chooses_what_the_model_does_not_say(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool(uses=3)
    def orders() -> list[dict[str, Any]]:
        return ROWS

    (tool,) = await server.mcp.list_tools()
    assert tool.input_schema["properties"]["uses"]["default"] == 3
    assert "to 3 tools" in shape_of(await agent("orders", abstract_domains="n", uses=None))["next_step"]
    assert "65535" in error_of(await agent("orders", abstract_domains="n", uses=70_000)).replace(",", "")


async def test_our_parameters_give_way_to_the_authors(server: PlaneServer, agent: Agent) -> None:
    seen: list[Any] = []

    @server.resource_tool
    def orders(mode: str, uses: str = "a", abstract_domains: int = 1) -> list[dict[str, Any]]:
        seen.append((mode, uses, abstract_domains))
        return ROWS

    (tool,) = await server.mcp.list_tools()
    names = ["mode", "uses", "abstract_domains", "plane_abstract_domains", "plane_mode", "plane_uses"]
    assert list(tool.input_schema["properties"]) == names
    assert tool.input_schema["required"] == ["mode"]
    shape = shape_of(await agent("orders", mode="fast", plane_abstract_domains="n", plane_uses=1))
    assert seen == [("fast", "a", 1)]
    assert shape["next_step"].endswith("with plane_uses=2")
    shape = shape_of(await agent("orders", mode="fast", plane_abstract_domains="n", plane_mode="sync"))
    assert "body" in shape


async def test_with_reading_tools_the_result_says_how_to_read_on(settings: Settings) -> None:
    server = PlaneServer("reading", settings=settings, reading_tools=True)

    @server.resource_tool
    def orders() -> list[dict[str, Any]]:
        return ROWS

    @server.resource_tool
    def report() -> str:
        return "x\n" * 400_000

    async with Client(server.mcp) as client:
        table = shape_of(await client.call_tool("orders", {"abstract_domains": "n"}))
        text = shape_of(await client.call_tool("report", {}))
        read = await client.call_tool("read_body", {"resource_url": table["resource_url"]})
    assert table["next_step"].startswith("2 rows of 2 columns. To read on: query_body(")
    assert table["next_step"].endswith("One tool may take it; for more, repeat this call with uses=2")
    assert text["next_step"].startswith("A text of 800,000 bytes. To read on: read_body(")
    assert "x" in text_of(read) and not read.is_error
